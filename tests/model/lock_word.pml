/* The lock word, link scheme: a model for spin of what src/claim, src/schemes/lock_file and src/core/waiting.cpp do. It
 * is a second opinion beside the exploration of the code itself. It was written from the code by hand, so it can be
 * wrong where the code is right and the other way round, but hardly in the same place.
 *
 * One step of a participant is one system call, unless said otherwise. Between any two steps any other may go on, and
 * at any step a participant may be killed or be stopped for good.
 *
 *   step               function                                        calls
 *   make_claim         Claim::make                                     all of them: see below
 *   begin_round        Claim::begin_hold                               unlock of all bytes, once round
 *   begin_hold         Claim::begin_hold                               write of the number
 *   publish            LockFileAttempt::publish_link                   link(own name, W)
 *   look               Word::look                                      open W
 *   look_read          Word::look_at_file                              read
 *   look_judge         Word::judge_record, gather_evidence, judge      F_OFD_GETLK of LIVE, the holder's pidfd
 *   look_w_is_it       Word::still_is in Word::look_at_file            stat W
 *   look_read_again    Word::look_at_file                              read
 *   remove_open        Word::open_for_removal                          open W for writing, fstat
 *   remove_break       Word::open_for_removal                          F_OFD_SETLK of the hold's BREAK
 *   remove_lock        Word::open_for_removal, Word::maker_has_ended   F_OFD_SETLK of the hold's REMOVE
 *   remove_w_is_it     Word::still_is in break_stale, break_forced     stat W
 *   remove_read        Word::break_stale, Word::break_forced           read
 *   remove_judge       Word::judge_record in Word::break_stale         as look_judge
 *   remove_word        Word::remove                                    unlink(W)
 *   remove_own_name    Word::break_stale, its end                      stat, unlink of the dead claim's own name
 *   remove_close       ~File                                           close: first the event,
 *   remove_drop                                                        then the locks
 *   wait_arm           Waits::blocked_by, Waits::settle, Sleeper::arm  inotify_add_watch, close of the look's file
 *   wait_sleep         WaitLoop::try_until_granted, Sleeper::sleep     ppoll, read of the inotify instance
 *   wait_in_turn       Waits::in_turn; Engine::break_hold              a sleep of milliseconds
 *   release_lock       Word::release                                   F_OFD_SETLK of the hold's REMOVE
 *   release_look       Word::release                                   stat W
 *   release_unlink     Word::release                                   unlink(W)
 *   give_up_unlock     Claim::give_up                                  unlock of LIVE
 *   give_up_mark       Claim::give_up                                  write of the mark
 *   give_up_name       Claim::drop                                     unlink of the own name
 *   give_up_close,     Claim::drop                                     close: first the event,
 *   give_up_drop                                                       then the locks
 *   noted              LockFileScheme::holders                         close of the look's file
 *   leave              LockFileScheme::drop_kept                       all of Claim::drop: nobody's verdict is changed
 *   dies, ...          what the kernel does for a process              for each descriptor the event, then the locks;
 *                                                                      last its pidfd
 *
 * Modelled: hold numbers, and for each a byte REMOVE and a byte BREAK (docs/decisions/0014-a-remove-byte-for-each-hold.md)
 * which come round after BYTES holds; inode numbers that are given out again at once; descriptors that keep an inode; watches,
 * which go with their inode, while the waiter knows them by the number (WatchSource::same_as); close events before the
 * locks drop; Sleeper::arm's "anew".
 *
 * Left out, and why that is no loss:
 * - making a claim is one step: until its last call no name refers to the claim;
 * - a look after some milliseconds ("in turn", and the looks that Waits::settle plans after a close event) is made only
 *   when what it waits for has changed: the same look with the same answer changes nothing. So there are no endless
 *   circles, and whoever is never served shows as a deadlock. That locks drop within the 21 ms of Waits::settle after
 *   their event is believed;
 * - the line of threads of one process, re-entry, deadlines: one attempt at a time reaches the file system;
 * - network file systems, foreign lockers, other users, power cuts, sweeps, refused calls, hand-overs.
 *
 * Bounds, each by -D: LOCKERS lock and unlock ROUNDS times. BREAKERS break by force BREAKS times the hold that they saw
 * (LockFileScheme::break_hold; whoever is to be broken, without a name, is whoever is seen first). CRASHES; COPIES: a
 * clone of a process that is killed may live on with copies of its claim's descriptor (1), or of all (2). STOPS: a
 * stopped process keeps its byte locks. BYTES. HIDDEN: nobody sees a process of anybody (pid namespaces), the guard alone
 * is the witness. When all these have ended a last caller comes, who must obtain the lock.
 *
 * Laws: the assertions, each with its sentence; and no invalid end, which is one where somebody sleeps and nobody is left
 * to wake it. A waiter may give up (its deadline) only when a stopped process holds the lock, or the REMOVE of it. */

#ifndef LOCKERS
#define LOCKERS 2
#endif
#ifndef ROUNDS
#define ROUNDS 2
#endif
#ifndef BREAKERS
#define BREAKERS 1
#endif
#ifndef BREAKS
#define BREAKS 1
#endif
#ifndef CRASHES
#define CRASHES 0
#endif
#ifndef STOPS
#define STOPS 0
#endif
#ifndef COPIES
#define COPIES 0
#endif
#ifndef BYTES
#define BYTES 2
#endif
#define MORTALS (LOCKERS + BREAKERS)
#define LAST MORTALS
#define ALL (MORTALS + 1)
#define INODES (ALL + 1)

/* ---- The file system ---- */

typedef Inode {
  byte nonce;          /* of the claim that it is; 0: nobody's, its number is free */
  byte number;         /* record: the hold */
  bit released;        /* record: the mark */
  bit own_name;        /* W.<nonce> refers to it */
  byte opens;          /* descriptors */
  bit live;            /* byte LIVE is locked, by the maker */
  bit closing;         /* the maker's close event is out, and LIVE is still locked */
  byte remove[BYTES];  /* participant + 1 who has locked that byte */
  byte breaks[BYTES];  /* the same of BREAK */
}
Inode inode[INODES];
byte word;             /* W: inode + 1; 0: absent */

#define NONCE(maker, count) ((maker) * 8 + (count) + 1)
#define MAKER(i) ((inode[i].nonce - 1) / 8)
#ifdef WRONG_HOLDS_WITHOUT_NUMBER
#define BYTE_OF(number) 0
#else
#define BYTE_OF(number) ((number) % BYTES)
#endif

/* ---- Waiters ---- */

byte watched[ALL];     /* number of the inode that it believes to watch, + 1 */
bit watching[ALL];     /* the kernel's watch is there */
bit noticed[ALL];      /* an event of it is in the queue */
byte watched_pid[ALL]; /* participant + 1 whose pidfd it polls */

/* ---- Fates ---- */

byte crashes = CRASHES;
byte stops = STOPS;
bit ended[ALL];        /* its pidfd is readable */
bit stopped[ALL];
byte over;             /* how many mortals are past their last step */

/* ---- What the laws speak of ---- */

bit holding[ALL];      /* lock() has returned, unlock() has not been called, and it lives */
bit forced[ALL];       /* its hold was broken by force, and it has not been told yet */
bit hold_lives;        /* W stands for a hold that nobody has ended yet, of a process that lives */
bit aimed[ALL];        /* what stands at W is the very hold that it is about to break by force */

byte x;                /* scratch; 0 between steps */

inline tell_of(i) {    /* an event of that inode */
  do
  :: x < ALL -> if :: watching[x] && watched[x] == (i) + 1 -> noticed[x] = 1 :: else fi; x++
  :: else -> x = 0; break
  od
}

inline give_number_back_of(i) {  /* if nothing refers to the inode any more; its watches tell of it, and go */
  if
  :: inode[i].nonce != 0 && inode[i].opens == 0 && !inode[i].own_name && word != (i) + 1 ->
     tell_of(i);
     do
     :: x < ALL -> if :: watched[x] == (i) + 1 -> watching[x] = 0 :: else fi; x++
     :: else -> x = 0; break
     od;
     inode[i].nonce = 0; inode[i].number = 0; inode[i].released = 0
  :: else
  fi
}

inline drop_bytes_of(i) {
  do
  :: x < BYTES ->
     if :: inode[i].remove[x] == me + 1 -> inode[i].remove[x] = 0 :: else fi;
     if :: inode[i].breaks[x] == me + 1 -> inode[i].breaks[x] = 0 :: else fi;
     x++
  :: else -> x = 0; break
  od
}

inline close_claim() {   /* what follows the event */
  i = claim - 1;
  inode[i].live = 0; inode[i].closing = 0;
  drop_bytes_of(i);
  inode[i].opens--;
  claim = 0; number = 0; used = 1; numbered = 0;
  give_number_back_of(i);
  i = 0
}

inline close_look() {
  i = seen - 1;
  inode[i].opens--;
  seen = 0; n = 0; mark = 0; dead = 0; has_ended = 0;
  give_number_back_of(i);
  i = 0
}

inline unlink_word() {
  i = word - 1;
  word = 0;
  hold_lives = 0;
  do
  :: x < ALL -> aimed[x] = 0; x++
  :: else -> x = 0; break
  od;
  tell_of(i);
  i = 0
}

inline forget_watches() {
  watched[me] = 0; watching[me] = 0; noticed[me] = 0; watched_pid[me] = 0
}

#ifdef HIDDEN
#define IS_DEAD(i, mark) (!inode[i].live)
#define HAS_ENDED(i) 0  /* nobody knows */
#define HELD_BY_STOPPED(i) (stopped[MAKER(i)] && inode[i].live)
#define WATCHES(inode_and_1) (watched[me] == inode_and_1)
#else
#define HAS_ENDED(i) ended[MAKER(i)]
#define IS_DEAD(i, mark) (ended[MAKER(i)] || (!inode[i].live && mark))
#define HELD_BY_STOPPED(i) (stopped[MAKER(i)] && !(inode[i].released && !inode[i].live))
#define WATCHES(inode_and_1) (watched[me] == inode_and_1 && watched_pid[me] == MAKER(inode_and_1 - 1) + 1)
#endif
#define REMOVE_OF(i) inode[i].remove[BYTE_OF(inode[i].number)]
#define BREAK_OF(i) inode[i].breaks[BYTE_OF(inode[i].number)]

#ifdef WRONG_REMOVE_OF_THE_DEAD_IS_RESPECTED
#define BYTES_ARE_FREE (BREAK_OF(busy - 1) == 0 && REMOVE_OF(busy - 1) == 0)
#else
#define BYTES_ARE_FREE (BREAK_OF(busy - 1) == 0 && (REMOVE_OF(busy - 1) == 0 || HAS_ENDED(busy - 1)))
#endif

/* A stopped process holds, or is removing: nobody gets in, and nobody is to blame. */
#define HOPELESS \
  (word != 0 && (HELD_BY_STOPPED(word - 1) || (REMOVE_OF(word - 1) != 0 && stopped[REMOVE_OF(word - 1) - 1]) || \
                 (BREAK_OF(word - 1) != 0 && stopped[BREAK_OF(word - 1) - 1])))

/* Opens every step. */
#define MAY_END_HERE \
  if \
  :: true \
  :: me != LAST && crashes > 0 -> crashes--; printf("%c: is killed\n", 'A' + me); goto dies \
  :: me != LAST && stops > 0 -> stops--; printf("%c: is stopped for good\n", 'A' + me); goto stops_here \
  fi
/* For the trace of an error. */
#define SAY(text) printf(text, 'A' + me)
#define SAY1(text, value) printf(text, 'A' + me, value)
#define SAY2(text, value, other) printf(text, 'A' + me, value, other)

mtype = { to_acquire, to_note, to_break };

proctype participant(byte me; byte todo) {
  byte claim;          /* inode + 1 of the claim that it has */
  byte made;           /* how many it has made */
  byte number;         /* Record::number */
  bit used = 1;        /* Claim::number_used_ */
  bit numbered;        /* LockFileAttempt::numbered_ */
  bit locked;          /* the own hold's REMOVE was had */
  bit was_forced;      /* broken before release() was called */

  mtype why = to_acquire;  /* it looks */
  byte seen;           /* Look::file: inode + 1 */
  byte n;              /* Look::record.number */
  bit mark;            /* Look::record.released */
  bit dead;            /* Look::judgement */
  bit has_ended;       /* Look::processes */
  bit update;          /* the same inode is open for writing too */
  byte busy;           /* inode + 1 whose BREAK or REMOVE is somebody else's, */
  byte busy_nonce;     /* which it was, */
  byte busy_number;    /* and of which hold */
  bit removed;         /* broke it */
  byte victim;         /* nonce of the hold to break */
  byte victim_number;
#ifdef HIDDEN
  byte settling;       /* Waits::settling_ */
  byte settling_number;
  bit first;           /* the look before was the first at this hold */
  bit soon;            /* a look is planned: Waits::settle_at_ */
  bit planned;         /* this is it */
#endif
  byte i;              /* scratch */

  if
  :: me == LAST -> over == MORTALS
  :: else
  fi;

next:
  atomic {
    d_step {
      numbered = 0; removed = 0; victim = 0; victim_number = 0; why = to_acquire; was_forced = 0; locked = 0; aimed[me] = 0;
#ifdef HIDDEN
      settling = 0; settling_number = 0; first = 0; soon = 0; planned = 0
#endif
    }
    if
    :: todo == 0 && claim != 0 -> goto leave
    :: todo == 0 -> SAY("%c: has done all it wanted, and lives on\n"); goto is_over
    :: todo > 0 && (me < LOCKERS || me == LAST) -> todo--; goto try
    :: todo > 0 && !(me < LOCKERS || me == LAST) -> todo--; why = to_note; goto look
    fi
  }

  /* ---- LockFileAttempt::try_step ---- */
try:
  if
  :: claim != 0 && numbered -> goto publish
  :: claim != 0 && !numbered -> goto begin_round
  :: claim == 0
  fi;
make_claim:
  atomic {
    MAY_END_HERE;
    d_step {
      do
      :: i < INODES && inode[i].nonce != 0 -> i++
      :: else -> break
      od;
      assert(i < INODES);  /* a bound of the model */
      assert(made < 8);    /* another */
      inode[i].nonce = NONCE(me, made);
      inode[i].live = 1; inode[i].own_name = 1; inode[i].opens = 1;
      claim = i + 1; made++;
      SAY1("%c: makes a claim, inode %d\n", i);
      i = 0
    }
  }
begin_round:
  if
  :: used && (number + 1) % BYTES == 0 ->
     atomic {
       MAY_END_HERE;
       d_step { drop_bytes_of(claim - 1); SAY("%c: gives all its REMOVE bytes back\n") }
     }
  :: else
  fi;
begin_hold:
  atomic {
    MAY_END_HERE;
    d_step {
      number = number + used; used = 0; numbered = 1;
      inode[claim - 1].number = number;
      tell_of(claim - 1);
      SAY1("%c: writes number %d\n", number)
    }
  }
publish:
  atomic {
    MAY_END_HERE;
    assert(inode[claim - 1].own_name);  /* a claim that is kept is not cleared */
    if
    :: word == 0 ->
       d_step {
         word = claim;
         tell_of(claim - 1);
         SAY2("%c: link(claim, W): holds inode %d, hold %d\n", claim - 1, number);
         hold_lives = 1; holding[me] = 1;
         used = 1; numbered = 0;
         forget_watches();
#ifdef HIDDEN
         settling = 0; settling_number = 0; first = 0; soon = 0; planned = 0;
#endif
         /* Never two holders, but for those that were broken by force. */
         do
         :: x < ALL -> assert(x == me || !holding[x] || forced[x]); x++
         :: else -> x = 0; break
         od
       }
       goto release_lock
    :: else -> SAY("%c: link(claim, W): EEXIST\n")
    fi
  }

look:
  atomic {
    MAY_END_HERE;
    if
    :: word != 0 -> seen = word; inode[seen - 1].opens++; SAY1("%c: opens W: inode %d\n", seen - 1)
    :: word == 0 && why == to_acquire -> SAY("%c: opens W: ENOENT\n"); goto try
    :: word == 0 && why != to_acquire -> SAY("%c: opens W: ENOENT\n"); goto next
    fi
  }
look_read:
  atomic {
    MAY_END_HERE;
    n = inode[seen - 1].number; mark = inode[seen - 1].released;
    SAY2("%c: reads hold %d, released %d\n", n, mark)
  }
look_judge:
  atomic {
    MAY_END_HERE;
    dead = IS_DEAD(seen - 1, mark);
    has_ended = HAS_ENDED(seen - 1);
    SAY2("%c: judges: dead %d, its process has ended %d\n", dead, has_ended)
  }
look_w_is_it:
#ifndef WRONG_RECORD_READ_ONCE
  atomic {
    MAY_END_HERE;
    if
    :: word == seen ->
       if
       :: why == to_note -> aimed[me] = 1
       :: else
       fi
    :: word != seen -> SAY("%c: W is another inode\n"); goto look_again
    fi
  }
look_read_again:
  atomic {
    MAY_END_HERE;
    if
    :: n == inode[seen - 1].number && mark == inode[seen - 1].released
    :: else -> SAY("%c: the record has changed\n"); goto look_again
    fi
  }
#else
  if
  :: why == to_note -> aimed[me] = (word == seen)
  :: else
  fi;
#endif
  if
  :: why == to_note -> goto noted
  :: why == to_break -> goto break_it
  :: why == to_acquire && dead -> goto remove_open
  :: why == to_acquire && !dead -> assert(seen != claim)
  fi;

  /* ---- Busy: LockFileAttempt::react, WaitLoop::try_until_granted ---- */
wait_arm:
  atomic {
    MAY_END_HERE;
#ifdef HIDDEN
    d_step {
      if
      :: settling != inode[seen - 1].nonce || settling_number != n ->
         settling = inode[seen - 1].nonce; settling_number = n; first = 1;
#if defined(WRONG_ONLY_EVENTS_ARE_SETTLED) || defined(WRONG_FIRST_LOOK_IS_NOT_SETTLED)
         soon = 0
#else
         soon = 1
#endif
      :: else ->
#ifdef WRONG_ONLY_EVENTS_ARE_SETTLED
         soon = !planned && !first;
#else
         soon = !planned;
#endif
         first = 0
      fi;
      planned = 0
    }
#endif
    if
    :: WATCHES(seen) ->
       d_step { close_look() }
       goto wait_sleep
    :: else ->
       d_step {
         if
         :: watched[me] != seen -> watched[me] = seen; watching[me] = 1; noticed[me] = 0
         :: else
         fi;
#ifndef HIDDEN
         watched_pid[me] = MAKER(seen - 1) + 1;
#endif
         SAY1("%c: watches inode %d\n", seen - 1);
         close_look()
       }
#ifdef WRONG_NO_SECOND_LOOK
       goto wait_sleep
#else
       goto try
#endif
    fi
  }
wait_sleep:
  atomic {
    if
    :: noticed[me] ->
       watched[me] = 0; watching[me] = 0; noticed[me] = 0;
       SAY("%c: wakes up: an event\n")
#ifndef HIDDEN
    :: watched_pid[me] != 0 && ended[watched_pid[me] - 1] -> watched_pid[me] = 0; SAY("%c: wakes up: the holder has ended\n")
#else
    :: soon && !inode[watched[me] - 1].closing -> soon = 0; planned = 1; SAY("%c: wakes up: some milliseconds have passed\n")
#endif
    :: HOPELESS -> goto deadline
    :: me != LAST && crashes > 0 -> crashes--; SAY("%c: is killed in its sleep\n"); goto dies
    fi
  }
  goto try;

wait_in_turn:
  atomic {
    if
    :: word != busy || inode[busy - 1].nonce != busy_nonce || inode[busy - 1].number != busy_number || BYTES_ARE_FREE ->
       SAY("%c: looks again after a moment\n")
    :: HOPELESS -> busy = 0; busy_nonce = 0; busy_number = 0; goto deadline
    :: me != LAST && crashes > 0 -> crashes--; SAY("%c: is killed in its sleep\n"); goto dies
    fi;
    busy = 0; busy_nonce = 0; busy_number = 0;
    if
    :: why == to_break -> goto look
    :: else -> goto try
    fi
  }

deadline:  /* LockFileAttempt::withdraw keeps the claim, with its number */
  atomic {
    d_step { forget_watches(); SAY("%c: gives up: a stopped process has it\n") }
    goto next
  }

look_again:
  atomic { d_step { skip; close_look() } }
  if
  :: why == to_acquire -> goto try
  :: else -> goto look
  fi;

  /* ---- Removing what is somebody else's: Word::break_stale, Word::break_forced ---- */
remove_open:
  atomic {
    MAY_END_HERE;
    if
    :: word == seen -> update = 1; inode[seen - 1].opens++; SAY("%c: opens W for writing\n")
#ifndef WRONG_VERDICT_OF_ANOTHER_DESCRIPTOR
    :: word != seen -> SAY("%c: opens W for writing: another inode\n"); goto look_again
#else
    :: word != seen && word == 0 -> goto look_again
    :: word != seen && word != 0 ->
       d_step {
         i = dead; close_look(); dead = 1;
         seen = word; n = inode[seen - 1].number; update = 1; inode[seen - 1].opens = inode[seen - 1].opens + 2;
         SAY1("%c: opens W for writing: inode %d\n", seen - 1)
       }
#endif
    fi
  }
remove_break:
#if !defined(WRONG_NO_REMOVE) && !defined(WRONG_NO_BREAK)
  atomic {
    MAY_END_HERE;
    if
    :: inode[seen - 1].breaks[BYTE_OF(n)] == 0 -> inode[seen - 1].breaks[BYTE_OF(n)] = me + 1; SAY1("%c: locks BREAK of hold %d\n", n)
    :: else -> busy = seen; SAY1("%c: BREAK of hold %d is somebody else's\n", n); goto remove_close
    fi
  }
#endif
remove_lock:
#ifndef WRONG_NO_REMOVE
  atomic {
    MAY_END_HERE;
    if
    :: inode[seen - 1].remove[BYTE_OF(n)] == 0 -> inode[seen - 1].remove[BYTE_OF(n)] = me + 1; SAY1("%c: locks REMOVE of hold %d\n", n)
#ifndef WRONG_REMOVE_OF_THE_DEAD_IS_RESPECTED
    :: inode[seen - 1].remove[BYTE_OF(n)] != 0 && has_ended -> SAY1("%c: REMOVE of hold %d is taken, by its dead maker\n", n)
#endif
    :: else -> busy = seen; SAY1("%c: REMOVE of hold %d is somebody else's\n", n); goto remove_close
    fi
  }
#endif
#ifdef WRONG_COMPARED_BEFORE_W_WAS_SEEN
  atomic {
    MAY_END_HERE;
    if
    :: n == inode[seen - 1].number -> SAY1("%c: reads hold %d\n", n)
    :: else -> goto remove_close
    fi
  }
#endif
remove_w_is_it:
#ifndef WRONG_NO_LOOK_UNDER_REMOVE
  atomic {
    MAY_END_HERE;
    if
    :: word == seen -> SAY("%c: W still is it\n")
    :: else -> SAY("%c: W is not it any more\n"); goto remove_close
    fi
  }
#endif
remove_read:
#if !defined(WRONG_COMPARED_BEFORE_W_WAS_SEEN) && !defined(WRONG_NUMBER_NOT_READ_AGAIN)
  atomic {
    MAY_END_HERE;
    if
    :: n == inode[seen - 1].number -> mark = inode[seen - 1].released; SAY1("%c: reads hold %d\n", n)
    :: else -> SAY1("%c: reads hold %d: another\n", inode[seen - 1].number); goto remove_close
    fi
  }
#endif
remove_judge:
#ifndef WRONG_VERDICT_OF_ANOTHER_DESCRIPTOR
  if
  :: why == to_break
  :: else ->
     atomic {
       MAY_END_HERE;
       if
       :: IS_DEAD(seen - 1, mark)
       :: else -> SAY("%c: judges: not dead\n"); goto remove_close
       fi
     }
  fi;
#endif
remove_word:
  atomic {
    MAY_END_HERE;
    if
    :: word == 0 -> SAY("%c: unlink(W): ENOENT\n"); goto remove_close
    :: word != 0 && why == to_break ->
       SAY2("%c: unlink(W): was inode %d, hold %d\n", word - 1, inode[word - 1].number);
       /* A forced break removes the hold that was meant, and none that was granted later. */
       assert(aimed[me]);
       removed = 1;
       d_step { if :: hold_lives -> forced[MAKER(word - 1)] = 1 :: else fi; unlink_word() }
       goto remove_close
    :: word != 0 && why != to_break ->
       SAY2("%c: unlink(W): was inode %d, hold %d\n", word - 1, inode[word - 1].number);
       /* A stale break never removes a hold that lives. */
       assert(!hold_lives);
       d_step { skip; unlink_word() }
    fi
  }
remove_own_name:
  atomic {
    MAY_END_HERE;
    d_step { inode[seen - 1].own_name = 0; tell_of(seen - 1) }
  }
remove_close:
  atomic {
    MAY_END_HERE;
    d_step { tell_of(seen - 1); SAY("%c: closes W: the event\n") }
  }
remove_drop:
  atomic {
    d_step {
      drop_bytes_of(seen - 1);
      update = 0; inode[seen - 1].opens--;
      SAY("%c: closes W: the locks\n");
      if :: busy != 0 -> busy = seen; busy_nonce = inode[seen - 1].nonce; busy_number = n :: else fi;
      close_look()
    }
    if
    :: busy != 0 -> goto wait_in_turn
    :: busy == 0 && why == to_acquire -> goto try
    :: busy == 0 && why != to_acquire && removed -> goto next
    :: busy == 0 && why != to_acquire && !removed -> goto look
    fi
  }

  /* ---- A hold, and its end: Word::release ---- */
release_lock:
  atomic {
    MAY_END_HERE;
    d_step {
      holding[me] = 0; was_forced = forced[me];
#if defined(WRONG_NO_REMOVE) || defined(WRONG_RELEASE_WITHOUT_REMOVE) || defined(WRONG_RELEASE_BY_NAME)
      locked = 1
#else
      if
      :: inode[claim - 1].remove[BYTE_OF(number)] == 0 || inode[claim - 1].remove[BYTE_OF(number)] == me + 1 ->
         inode[claim - 1].remove[BYTE_OF(number)] = me + 1;
         locked = 1;
         SAY1("%c: releases: locks REMOVE of hold %d\n", number)
      :: else -> locked = 0; SAY1("%c: releases: REMOVE of hold %d is somebody else's\n", number)
      fi
#endif
    }
  }
#ifdef WRONG_RELEASE_WAITS_FOR_REMOVE
  if
  :: locked
  :: else -> atomic { inode[claim - 1].remove[BYTE_OF(number)] == 0 -> locked = 1 }
  fi;
#endif
release_look:
#ifndef WRONG_RELEASE_BY_NAME
  atomic {
    MAY_END_HERE;
    if
    :: word != claim ->
       /* Only a hold that was broken by force is lost, and its holder is told. */
       assert(forced[me]);
       forced[me] = 0;
       SAY("%c: is told that its hold was lost\n");
       goto next
    :: word == claim && locked -> assert(!was_forced)
    :: word == claim && !locked -> assert(!was_forced); goto give_up_unlock
    fi
  }
#endif
release_unlink:
  atomic {
    MAY_END_HERE;
    if
    :: word == 0 -> goto next  /* in wrong variants only */
    :: else
    fi;
    SAY2("%c: unlink(W): was inode %d, hold %d\n", word - 1, inode[word - 1].number);
    /* A release removes the own hold and no other. */
    assert(word == claim && hold_lives);
    d_step { forced[me] = 0; unlink_word() }
    goto next
  }

give_up_unlock:
#if !defined(WRONG_CLOSE_INSTEAD_OF_MARK) && !defined(WRONG_MARK_AND_CLOSE)
  atomic {
    MAY_END_HERE;
    d_step { inode[claim - 1].live = 0; if :: word == claim -> hold_lives = 0 :: else fi; SAY("%c: unlocks LIVE\n") }
  }
#endif
give_up_mark:
#ifndef WRONG_CLOSE_INSTEAD_OF_MARK
  atomic {
    MAY_END_HERE;
    d_step {
      inode[claim - 1].released = 1;
      if :: word == claim -> hold_lives = 0 :: else fi;
      tell_of(claim - 1);
      SAY("%c: marks its record as released\n")
    }
  }
#endif
give_up_name:
  atomic {
    MAY_END_HERE;
    d_step {
      forced[me] = 0;
      if :: word == claim -> hold_lives = 0 :: else fi;
      inode[claim - 1].own_name = 0;
      tell_of(claim - 1);
      SAY("%c: unlinks its own name\n")
    }
  }
give_up_close:
  atomic {
    MAY_END_HERE;
    d_step { inode[claim - 1].closing = inode[claim - 1].live; tell_of(claim - 1); SAY("%c: closes its claim: the event\n") }
  }
give_up_drop:
  atomic {
    d_step { SAY("%c: closes its claim: the locks\n"); close_claim() }
    goto next
  }

  /* ---- A forced break: LockFileScheme::holders, and later LockFileScheme::break_hold with what it said ---- */
noted:
  atomic {
    MAY_END_HERE;
    d_step {
      victim = inode[seen - 1].nonce; victim_number = n;
      SAY2("%c: has seen a holder: inode %d, hold %d\n", seen - 1, n);
      close_look();
      why = to_break
    }
    goto look
  }
break_it:
#ifdef WRONG_WHOEVER_IS_THERE_BY_THEN
  goto remove_open;
#elif defined(WRONG_HOLDS_WITHOUT_NUMBER)
  if
  :: victim != inode[seen - 1].nonce -> d_step { close_look() } goto next
  :: else -> n = inode[seen - 1].number; goto remove_open
  fi;
#else
  if
  :: victim != inode[seen - 1].nonce || victim_number != n -> d_step { close_look() } goto next
  :: else -> goto remove_open
  fi;
#endif

  /* ---- The end ---- */
leave:
  atomic {
    MAY_END_HERE;
    d_step {
      inode[claim - 1].own_name = 0;
      tell_of(claim - 1);
      SAY("%c: drops its claim, and lives on\n");
      close_claim()
    }
    goto is_over
  }

dies:
  atomic {
    d_step {
      holding[me] = 0; forced[me] = 0; aimed[me] = 0; i = 0;
      forget_watches();
      if :: claim != 0 && word == claim -> hold_lives = 0 :: else fi
    }
#if COPIES >= 1
    if
    :: true
    :: SAY("%c: a clone of it lives on, with copies of its descriptors\n"); goto clone_lives_on
    fi
#endif
  }
dies_claim:
  if
  :: claim != 0 ->
     d_step { inode[claim - 1].closing = inode[claim - 1].live; tell_of(claim - 1); SAY("%c: is dying: its claim's event\n") }
     d_step { close_claim(); SAY("%c: is dying: its claim's locks\n") }
  :: else
  fi;
#if COPIES == 1
clone_lives_on:
#endif
  if
  :: update ->
     d_step { update = 0; tell_of(seen - 1) }
     d_step { drop_bytes_of(seen - 1); inode[seen - 1].opens--; SAY("%c: is dying: its REMOVE\n") }
  :: else
  fi;
  d_step {
    if :: seen != 0 -> close_look() :: else fi;
    ended[me] = 1;
    SAY("%c: is dead\n")
  }
  goto is_over;
#if COPIES == 2
clone_lives_on:
  ended[me] = 1;
  goto is_over;
#endif

stops_here:
  atomic { stopped[me] = 1; forget_watches(); SAY("%c: ...\n") }

is_over:
  atomic {
    todo = 0; made = 0; claim = 0; number = 0; used = 0; numbered = 0; locked = 0; was_forced = 0; why = to_acquire;
    seen = 0; n = 0; mark = 0; dead = 0; has_ended = 0; update = 0; busy = 0; busy_nonce = 0; busy_number = 0; removed = 0;
    victim = 0; victim_number = 0; i = 0;
#ifdef HIDDEN
    settling = 0; settling_number = 0; first = 0; soon = 0; planned = 0;
#endif
    over++
  }
}

init {
  atomic {
    byte p;
    do
    :: p < LOCKERS -> run participant(p, ROUNDS); p++
    :: p >= LOCKERS && p < MORTALS -> run participant(p, BREAKS); p++
    :: p == MORTALS -> run participant(p, 1); p = 0; break
    od
  }
}
