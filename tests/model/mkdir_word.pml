/* The lock word, mkdir scheme: the second model for spin of src/claim and src/schemes/lock_file. lock_word.pml has the
 * first, and the words and the way of writing that both share; here is what a directory as W adds.
 *
 *   step               function                                        calls
 *   make_claim         Claim::make                                     all of them
 *   begin_hold         Claim::begin_hold                               write of the number
 *   enter              Claim::enter_directory                          all of them: names that nobody else uses
 *   publish_kept       LockFileAttempt::publish_mkdir                  renameat2(W.<nonce>.dir, W, RENAME_NOREPLACE)
 *   mark_mkdir         LockFileAttempt::publish_marked                 mkdir(W), sticky
 *   mark_open          LockFileAttempt::publish_marked                 open W, fstat of it
 *   move_out           Claim::leave_directory                          all of them
 *   move_in            Word::move_in                                   link(own name, W's descriptor/holder)
 *   move_look          Word::move_in                                   stat W
 *   move_undo          Word::move_in, LockFileAttempt::lose_claim      unlink(the descriptor/holder); Claim::drop
 *   look               Word::look                                      open W
 *   look_inside        Word::enter_word                                open holder
 *   look_list          Word::enter_word                                list
 *   look_read          Word::look_at_file                              read
 *   look_judge         Word::judge_record, gather_evidence, judge      F_OFD_GETLK of LIVE, the holder's pidfd
 *   look_w_is_it       Word::still_is                                  stat W
 *   look_it_is_inside  Word::still_is                                  stat holder
 *   look_read_again    Word::look_at_file                              read
 *   remove_open        Word::open_for_removal                          open holder for writing, fstat
 *   remove_lock        Word::open_for_removal                          F_OFD_SETLK of the hold's REMOVE
 *   remove_w_is_it     Word::still_is in break_stale, break_forced     stat W
 *   remove_it_is_inside   the same                                     stat holder
 *   remove_read        Word::break_stale, Word::break_forced           read
 *   remove_judge       Word::judge_record in Word::break_stale         as look_judge
 *   remove_word        Word::remove                                    rename(W, W.<nonce>.<number>.gone)
 *   apart_open         take_apart                                      open of that name
 *   apart_unlink       take_apart                                      unlink(holder)
 *   apart_rmdir        take_apart                                      rmdir of that name
 *   remove_own_name    Word::break_stale, its end                      stat, unlink of the dead claim's own name
 *   remove_close, remove_drop   ~File                                  close: the event, then the locks
 *   wait_arm, wait_sleep        as in lock_word.pml; Word::watches
 *   release_lock       Word::release                                   F_OFD_SETLK of the hold's REMOVE
 *   release_look       Word::release                                   stat W
 *   release_rename     Word::release                                   rename(W, W.<nonce>.dir or a name that ends in .gone)
 *   give_up_*          Claim::give_up, Claim::drop                     as in lock_word.pml
 *   plain_*            another program: mkdir(W), and rmdir(W) at the end
 *
 * Left out besides: W as a file (link and mkdir lockers on one name exclude each other because all their ways fail where
 * anything bears the name), the small directory in which a claim moves in where there are no hard links, file systems
 * that keep no mark. Bytes of REMOVE do not come round here, and BREAK, which counts only where descriptors are copied, is
 * left out. Plain lockers are not killed: nobody breaks their locks.
 *
 * Bounds, each by -D: KEPT participants publish their kept directory, MARKERS make W with a mark and move in, PLAIN know
 * only mkdir and rmdir, BREAKERS break by force; ROUNDS, BREAKS, CRASHES, STOPS as in lock_word.pml. A last caller comes
 * at the end; without a crash or a stop nothing may be left then under a name that ends in .gone. */

#ifndef KEPT
#define KEPT 2
#endif
#ifndef MARKERS
#define MARKERS 0
#endif
#ifndef PLAIN
#define PLAIN 0
#endif
#ifndef BREAKERS
#define BREAKERS 1
#endif
#ifndef ROUNDS
#define ROUNDS 1
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
#ifndef BYTES
#define BYTES 4
#endif
#define LOCKERS (KEPT + MARKERS)
#define MORTALS (LOCKERS + PLAIN + BREAKERS)
#define LAST MORTALS
#define ALL (MORTALS + 1)
#define INODES (ALL + 2)
#define IS_LOCKER(who) (who < LOCKERS || who == LAST)
#define IS_KEPT(who) (who < KEPT || (who == LAST && MARKERS == 0))
#define IS_PLAIN(who) (who >= LOCKERS && who < LOCKERS + PLAIN)

/* ---- The file system ---- */

typedef File {
  byte nonce;          /* of the claim that it is; 0: nobody's, its number is free */
  byte number;
  bit released;
  byte links;          /* the own name, and names `holder` in directories */
  byte opens;
  bit live;
  byte remove[BYTES];  /* participant + 1 who has locked that byte */
}
File file[INODES];

mtype = { nowhere, at_w, at_own_name, on_its_way_out };
typedef Directory {
  bit used;            /* 0: its number is free */
  mtype place = nowhere;
  bit marked;
  byte holder;         /* file + 1 */
  byte opens;
}
Directory dir[INODES];
byte word;             /* directory + 1; 0: W is absent */

#define NONCE(maker, count) ((maker) * 8 + (count) + 1)
#define MAKER(f) ((file[f].nonce - 1) / 8)

/* ---- Waiters ---- */

byte watched_dir[ALL];  /* numbers + 1, as the waiter knows them */
byte watched_file[ALL];
bit watching_dir[ALL];  /* the kernel's watches */
bit watching_file[ALL];
bit watching_all[ALL];  /* the directory in which the lock stands */
bit noticed_dir[ALL];   /* events in the queue */
bit noticed_file[ALL];
bit noticed_all[ALL];
byte watched_pid[ALL];

/* ---- Fates, and what the laws speak of: as in lock_word.pml ---- */

byte crashes = CRASHES;
byte stops = STOPS;
bit ended[ALL];
bit stopped[ALL];
byte over;

bit holding[ALL];
bit forced[ALL];
bit hold_lives;
bit aimed[ALL];
bit plain_holds;        /* W is a plain locker's */

byte x;

inline tell_of_file(f) {
  do
  :: x < ALL -> if :: watching_file[x] && watched_file[x] == (f) + 1 -> noticed_file[x] = 1 :: else fi; x++
  :: else -> x = 0; break
  od
}
inline tell_of_dir(d) {
  do
  :: x < ALL -> if :: watching_dir[x] && watched_dir[x] == (d) + 1 -> noticed_dir[x] = 1 :: else fi; x++
  :: else -> x = 0; break
  od
}
inline tell_of_names() {
  do
  :: x < ALL -> if :: watching_all[x] -> noticed_all[x] = 1 :: else fi; x++
  :: else -> x = 0; break
  od
}

inline give_number_back_of_file(f) {
  if
  :: file[f].nonce != 0 && file[f].opens == 0 && file[f].links == 0 ->
     tell_of_file(f);
     do
     :: x < ALL -> if :: watched_file[x] == (f) + 1 -> watching_file[x] = 0 :: else fi; x++
     :: else -> x = 0; break
     od;
     file[f].nonce = 0; file[f].number = 0; file[f].released = 0
  :: else
  fi
}
inline give_number_back_of_dir(d) {
  if
  :: dir[d].used && dir[d].opens == 0 && dir[d].place == nowhere ->
     tell_of_dir(d);
     do
     :: x < ALL -> if :: watched_dir[x] == (d) + 1 -> watching_dir[x] = 0 :: else fi; x++
     :: else -> x = 0; break
     od;
     dir[d].used = 0; dir[d].marked = 0
  :: else
  fi
}

inline unlink_holder(d) {
  if
  :: dir[d].holder != 0 ->
     j = dir[d].holder - 1;
     dir[d].holder = 0;
     file[j].links--;
     tell_of_file(j); tell_of_dir(d);
     give_number_back_of_file(j);
     j = 0
  :: else
  fi
}

inline new_dir(d, where, with_mark) {
  do
  :: d < INODES && dir[d].used -> d++
  :: else -> break
  od;
  assert(d < INODES);  /* a bound of the model */
  dir[d].used = 1; dir[d].place = where; dir[d].marked = with_mark
}

/* W gets another meaning: none. */
inline take_word_away(where) {
  i = word - 1;
  word = 0;
  hold_lives = 0;
  dir[i].place = where;
  do
  :: x < ALL -> aimed[x] = 0; x++
  :: else -> x = 0; break
  od;
  tell_of_dir(i); tell_of_names();
  i = 0
}

inline drop_remove_of(f) {
  do
  :: x < BYTES -> if :: file[f].remove[x] == me + 1 -> file[f].remove[x] = 0 :: else fi; x++
  :: else -> x = 0; break
  od
}

inline close_claim() {
  i = claim - 1;
  file[i].live = 0;
  drop_remove_of(i);
  file[i].opens--;
  claim = 0; number = 0; used = 1; numbered = 0;
  give_number_back_of_file(i);
  i = 0
}
inline close_kept() {
  if
  :: kept != 0 ->
     i = kept - 1; kept = 0;
     dir[i].opens--;
     give_number_back_of_dir(i);
     i = 0
  :: else
  fi
}
inline close_look() {
  if
  :: seen != 0 -> i = seen - 1; file[i].opens--; seen = 0; give_number_back_of_file(i)
  :: else
  fi;
  if
  :: at != 0 -> i = at - 1; dir[i].opens--; at = 0; give_number_back_of_dir(i)
  :: else
  fi;
  i = 0; n = 0; mark = 0; dead = 0; made_it = 0
}
/* Claim::drop: names with the own nonce, all in one step. */
inline drop_claim() {
  if
  :: kept != 0 ->
     i = kept - 1;
     unlink_holder(i);
     if
     :: dir[i].place == at_own_name && dir[i].holder == 0 -> dir[i].place = nowhere; tell_of_dir(i)
     :: else
     fi;
     i = 0;
     close_kept()
  :: else
  fi;
  i = claim - 1;
  if :: own_name -> file[i].links--; own_name = 0; tell_of_file(i) :: else fi;
  tell_of_file(i);
  close_claim()
}

inline forget_watches() {
  watched_dir[me] = 0; watched_file[me] = 0; watching_dir[me] = 0; watching_file[me] = 0; watching_all[me] = 0;
  noticed_dir[me] = 0; noticed_file[me] = 0; noticed_all[me] = 0; watched_pid[me] = 0
}

inline granted() {
  /* Never two holders, but for those that were broken by force. */
  assert(!plain_holds);
  do
  :: x < ALL -> assert(x == me || !holding[x] || forced[x]); x++
  :: else -> x = 0; break
  od;
  holding[me] = 1; hold_lives = 1; used = 1; numbered = 0;
  forget_watches()
}

#define IS_DEAD(f, mark) (ended[MAKER(f)] || (!file[f].live && mark))
#define HELD_BY_STOPPED(f) (stopped[MAKER(f)] && !(file[f].released && !file[f].live))
#define FILE_AT_W (dir[word - 1].holder - 1)
#define REMOVE_IS_SOMEBODYS(f, n) (file[f].remove[n] != 0 && file[f].remove[n] != me + 1)
#define REMOVE_AT_W file[FILE_AT_W].remove[file[FILE_AT_W].number]
#define HOPELESS \
  (word != 0 && dir[word - 1].holder != 0 && \
   (HELD_BY_STOPPED(FILE_AT_W) || (REMOVE_AT_W != 0 && stopped[REMOVE_AT_W - 1])))

#define MAY_END_HERE \
  if \
  :: true \
  :: me != LAST && crashes > 0 -> crashes--; printf("%c: is killed\n", 'A' + me); goto dies \
  :: me != LAST && stops > 0 -> stops--; printf("%c: is stopped for good\n", 'A' + me); goto stops_here \
  fi
#define SAY(text) printf(text, 'A' + me)
#define SAY1(text, value) printf(text, 'A' + me, value)
#define SAY2(text, value, other) printf(text, 'A' + me, value, other)

mtype = { to_acquire, to_note, to_break };

proctype participant(byte me; byte todo) {
  byte claim;          /* file + 1 */
  bit own_name;        /* W.<nonce> refers to it */
  byte kept;           /* directory + 1: Claim::kept_ */
  byte made;
  byte number;
  bit used = 1;
  bit numbered;
  bit locked;
  bit was_forced;
  byte mine;           /* directory + 1 that W is while it holds: Held::word_info, with a descriptor of it */

  mtype why = to_acquire;
  byte at;             /* Look::word, and the directory that is taken apart: directory + 1 */
  byte seen;           /* Look::file: file + 1 */
  byte n;
  bit mark;
  bit dead;
  bit update;
  byte busy;           /* file + 1 whose REMOVE is somebody else's, */
  byte busy_at;        /* the directory + 1 that it was in, */
  byte busy_number;    /* and of which hold */
  bit made_it;         /* the own mkdir(W) succeeded */
  bit removed;
  byte victim;
  byte victim_number;
  byte i;              /* scratch */
  byte j;

  if
  :: me == LAST -> over == MORTALS
  :: else
  fi;
  if
  :: IS_PLAIN(me) -> goto plain_mkdir
  :: else
  fi;

next:
  atomic {
    d_step { numbered = 0; removed = 0; victim = 0; victim_number = 0; why = to_acquire; was_forced = 0; locked = 0; aimed[me] = 0 }
    if
    :: todo == 0 && claim != 0 && me != LAST -> goto leave
    :: todo == 0 && (claim == 0 || me == LAST) -> SAY("%c: has done all it wanted, and lives on\n"); goto is_over
    :: todo > 0 && IS_LOCKER(me) -> todo--; goto try
    :: todo > 0 && !IS_LOCKER(me) -> todo--; why = to_note; goto look
    fi
  }

try:
  if
  :: claim != 0 && numbered -> goto publish
  :: claim != 0 && !numbered -> goto begin_hold
  :: claim == 0
  fi;
make_claim:
  atomic {
    MAY_END_HERE;
    d_step {
      do
      :: i < INODES && file[i].nonce != 0 -> i++
      :: else -> break
      od;
      assert(i < INODES && made < 8);  /* bounds of the model */
      file[i].nonce = NONCE(me, made);
      file[i].live = 1; file[i].links = 1; file[i].opens = 1;
      claim = i + 1; own_name = 1; made++;
      SAY1("%c: makes a claim, file %d\n", i);
      i = 0
    }
  }
begin_hold:
  atomic {
    MAY_END_HERE;
    d_step {
      number = number + used; used = 0; numbered = 1;
      assert(number < BYTES);  /* a bound of the model */
      file[claim - 1].number = number;
      tell_of_file(claim - 1);
      SAY1("%c: writes number %d\n", number)
    }
  }
publish:
  if
  :: !IS_KEPT(me) -> goto mark_mkdir
  :: IS_KEPT(me) && kept != 0 -> goto publish_kept
  :: IS_KEPT(me) && kept == 0
  fi;
enter:
  atomic {
    MAY_END_HERE;
    d_step {
      new_dir(i, at_own_name, 1);
      dir[i].opens = 1; dir[i].holder = claim;
      file[claim - 1].links++;
      kept = i + 1;
      SAY1("%c: puts its claim into directory %d\n", i);
      i = 0
    }
  }
publish_kept:
  atomic {
    MAY_END_HERE;
    if
    :: dir[kept - 1].place != at_own_name ->
       SAY("%c: rename(own directory, W): ENOENT\n");
       d_step { skip; drop_claim() }
       goto try
#ifdef WRONG_PLAIN_RENAME
    :: dir[kept - 1].place == at_own_name && (word == 0 || dir[word - 1].holder == 0) ->
       d_step { if :: word != 0 -> i = word - 1; dir[i].place = nowhere; give_number_back_of_dir(i); i = 0 :: else fi }
#else
    :: dir[kept - 1].place == at_own_name && word == 0 ->
#endif
       d_step {
         word = kept; dir[kept - 1].place = at_w;
         tell_of_dir(kept - 1); tell_of_names();
         mine = kept;
         SAY2("%c: rename(own directory, W): holds directory %d, hold %d\n", kept - 1, number);
         granted()
       }
       goto release_lock
    :: else -> SAY("%c: rename(own directory, W): EEXIST\n"); goto look
    fi
  }

mark_mkdir:
  atomic {
    MAY_END_HERE;
    if
    :: word == 0 ->
       d_step {
         new_dir(i, at_w, 1);
         word = i + 1; made_it = 1;
         tell_of_names();
         SAY1("%c: mkdir(W) with the mark: directory %d\n", i);
         i = 0
       }
    :: else -> SAY("%c: mkdir(W): EEXIST\n")
    fi
  }
mark_open:
  atomic {
    MAY_END_HERE;
    if
    :: word == 0 -> made_it = 0; SAY("%c: opens W: ENOENT\n"); goto look
    :: word != 0 ->
       if
#ifdef WRONG_OWN_MKDIR_BELIEVED
       :: !dir[word - 1].marked && !made_it
#else
       :: !dir[word - 1].marked
#endif
          -> made_it = 0; SAY("%c: opens W: no mark\n"); goto look
       :: else -> made_it = 0; at = word; dir[at - 1].opens++; SAY1("%c: opens W: directory %d\n", at - 1)
       fi
    fi
  }

/* The claim goes into directory `at`. */
move_out:
  if
  :: kept != 0 ->
     atomic {
       MAY_END_HERE;
       d_step {
         i = kept - 1;
         unlink_holder(i);
         if :: dir[i].holder == 0 -> dir[i].place = nowhere :: else fi;
         SAY("%c: takes its claim out of its own directory\n");
         i = 0;
         close_kept()
       }
     }
  :: else
  fi;
move_in:
  atomic {
    MAY_END_HERE;
    if
    :: dir[at - 1].place == nowhere ->
       SAY("%c: link(claim, W/holder): ENOENT\n");
       d_step { close_look(); drop_claim() }
       goto try
    :: dir[at - 1].place != nowhere && dir[at - 1].holder != 0 ->
       SAY("%c: link(claim, W/holder): EEXIST\n");
       d_step { skip; close_look() }
       goto look
    :: else ->
       d_step {
         dir[at - 1].holder = claim;
         file[claim - 1].links++;
         tell_of_file(claim - 1); tell_of_dir(at - 1);
         SAY("%c: link(claim, W/holder)\n")
       }
    fi
  }
move_look:
  atomic {
    MAY_END_HERE;
    if
#ifdef WRONG_NO_LOOK_AFTER_MOVING_IN
    :: true ->
#else
    :: word == at ->
#endif
       d_step {
         mine = at; at = 0;
         SAY2("%c: W still is it: holds directory %d, hold %d\n", mine - 1, number);
         granted()
       }
       goto release_lock
#ifndef WRONG_NO_LOOK_AFTER_MOVING_IN
    :: else -> SAY("%c: W is not it any more\n")
#endif
    fi
  }
move_undo:
  atomic {
    MAY_END_HERE;
#ifdef WRONG_NUMBER_SERVES_AGAIN
    d_step { unlink_holder(at - 1); close_look() }
    goto look
#else
    /* It was to be seen as a hold: the number serves no other, and the claim, which may be cleared, is given up. */
    d_step { unlink_holder(at - 1); close_look(); drop_claim() }
    goto try
#endif
  }

look:
  atomic {
    MAY_END_HERE;
    if
    :: word != 0 -> at = word; dir[at - 1].opens++; SAY1("%c: opens W: directory %d\n", at - 1)
    :: word == 0 && why == to_acquire -> SAY("%c: opens W: ENOENT\n"); goto try
    :: word == 0 && why != to_acquire -> SAY("%c: opens W: ENOENT\n"); goto next
    fi
  }
look_inside:
  atomic {
    MAY_END_HERE;
    if
    :: dir[at - 1].holder != 0 ->
       seen = dir[at - 1].holder; file[seen - 1].opens++; SAY1("%c: opens W/holder: file %d\n", seen - 1);
       goto look_read
    :: else -> SAY("%c: opens W/holder: ENOENT\n")
    fi
  }
look_list:
  atomic {
    MAY_END_HERE;
    if
    :: dir[at - 1].place == nowhere -> goto look_again
    :: dir[at - 1].place != nowhere && why != to_acquire -> d_step { skip; close_look() } goto next
#ifndef WRONG_VACANT_IS_SOMEBODYS
    :: dir[at - 1].place != nowhere && why == to_acquire && dir[at - 1].holder == 0 && dir[at - 1].marked ->
       SAY("%c: W is empty and marked: moves in\n");
       goto move_out
    :: dir[at - 1].place != nowhere && why == to_acquire && !(dir[at - 1].holder == 0 && dir[at - 1].marked) ->
#else
    :: dir[at - 1].place != nowhere && why == to_acquire ->
#endif
       SAY("%c: W is another program's\n");
       goto wait_arm
    fi
  }
look_read:
  atomic {
    MAY_END_HERE;
    n = file[seen - 1].number; mark = file[seen - 1].released;
    SAY2("%c: reads hold %d, released %d\n", n, mark)
  }
look_judge:
  atomic {
    MAY_END_HERE;
    dead = IS_DEAD(seen - 1, mark);
    SAY1("%c: judges: dead %d\n", dead)
  }
look_w_is_it:
  atomic {
    MAY_END_HERE;
    if
    :: word == at
    :: else -> SAY("%c: W is another\n"); goto look_again
    fi
  }
look_it_is_inside:
  atomic {
    MAY_END_HERE;
    if
    :: dir[at - 1].holder == seen ->
       if :: word == at && why == to_note -> aimed[me] = 1 :: else fi
    :: else -> SAY("%c: W/holder is another\n"); goto look_again
    fi
  }
look_read_again:
  atomic {
    MAY_END_HERE;
    if
    :: n == file[seen - 1].number && mark == file[seen - 1].released
    :: else -> SAY("%c: the record has changed\n"); goto look_again
    fi
  }
  if
  :: why == to_note -> goto noted
  :: why == to_break -> goto break_it
  :: why == to_acquire && dead -> goto remove_open
  :: why == to_acquire && !dead
  fi;

wait_arm:
  atomic {
    MAY_END_HERE;
    if
    :: seen == 0 && watching_all[me] -> d_step { skip; close_look() } goto wait_sleep
    :: seen == 0 && !watching_all[me] ->
       d_step { forget_watches(); watching_all[me] = 1; SAY("%c: watches the directory around W\n"); close_look() }
       goto try
    :: seen != 0 && watched_dir[me] == at && watched_file[me] == seen && watched_pid[me] == MAKER(seen - 1) + 1 ->
       d_step { skip; close_look() }
       goto wait_sleep
    :: else ->
       d_step {
         watching_all[me] = 0; noticed_all[me] = 0;
         if :: watched_dir[me] != at -> watched_dir[me] = at; watching_dir[me] = 1; noticed_dir[me] = 0 :: else fi;
         if :: watched_file[me] != seen -> watched_file[me] = seen; watching_file[me] = 1; noticed_file[me] = 0 :: else fi;
         watched_pid[me] = MAKER(seen - 1) + 1;
         SAY2("%c: watches directory %d, file %d\n", at - 1, seen - 1);
         close_look()
       }
       goto try
    fi
  }
wait_sleep:
  atomic {
    if
    :: noticed_dir[me] || noticed_file[me] || noticed_all[me] ->
       d_step {
         if :: noticed_dir[me] -> watched_dir[me] = 0; watching_dir[me] = 0; noticed_dir[me] = 0 :: else fi;
         if :: noticed_file[me] -> watched_file[me] = 0; watching_file[me] = 0; noticed_file[me] = 0 :: else fi;
         if :: noticed_all[me] -> watching_all[me] = 0; noticed_all[me] = 0 :: else fi;
         SAY("%c: wakes up: an event\n")
       }
    :: watched_pid[me] != 0 && ended[watched_pid[me] - 1] -> watched_pid[me] = 0; SAY("%c: wakes up: the holder has ended\n")
    :: HOPELESS -> goto deadline
    :: me != LAST && crashes > 0 -> crashes--; SAY("%c: is killed in its sleep\n"); goto dies
    fi
  }
  goto try;

wait_in_turn:
  atomic {
    if
    :: word != busy_at || dir[busy_at - 1].holder != busy || !REMOVE_IS_SOMEBODYS(busy - 1, busy_number) ->
       SAY("%c: looks again after a moment\n"); busy = 0; busy_at = 0; busy_number = 0
    :: HOPELESS -> busy = 0; busy_at = 0; busy_number = 0; goto deadline
    :: me != LAST && crashes > 0 -> crashes--; busy = 0; busy_at = 0; busy_number = 0; SAY("%c: is killed in its sleep\n"); goto dies
    fi;
    if
    :: why == to_break -> goto look
    :: else -> goto try
    fi
  }

deadline:
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

remove_open:
  atomic {
    MAY_END_HERE;
    if
    :: dir[at - 1].holder == seen -> update = 1; file[seen - 1].opens++; SAY("%c: opens W/holder for writing\n")
    :: else -> SAY("%c: opens W/holder for writing: another\n"); goto look_again
    fi
  }
remove_lock:
#ifndef WRONG_NO_REMOVE
  atomic {
    MAY_END_HERE;
    if
    :: file[seen - 1].remove[n] == 0 -> file[seen - 1].remove[n] = me + 1; SAY1("%c: locks REMOVE of hold %d\n", n)
    :: file[seen - 1].remove[n] != 0 -> busy = seen; SAY("%c: REMOVE is somebody else's\n"); goto remove_close
    fi
  }
#endif
remove_w_is_it:
#ifndef WRONG_NO_LOOK_UNDER_REMOVE
  atomic {
    MAY_END_HERE;
    if
    :: word == at -> SAY("%c: W still is it\n")
    :: else -> SAY("%c: W is not it any more\n"); goto remove_close
    fi
  }
remove_it_is_inside:
  atomic {
    MAY_END_HERE;
    if
    :: dir[at - 1].holder == seen
    :: else -> SAY("%c: W/holder is another\n"); goto remove_close
    fi
  }
#endif
remove_read:
  atomic {
    MAY_END_HERE;
    if
    :: n == file[seen - 1].number -> mark = file[seen - 1].released; SAY1("%c: reads hold %d\n", n)
    :: else -> SAY1("%c: reads hold %d: another\n", file[seen - 1].number); goto remove_close
    fi
  }
remove_judge:
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
#ifdef WRONG_RMDIR_OF_W
  atomic { MAY_END_HERE; d_step { unlink_holder(at - 1); SAY("%c: unlink(W/holder)\n") } }
#endif
remove_word:
  atomic {
    MAY_END_HERE;
    if
    :: word == 0 -> SAY("%c: W: ENOENT\n"); goto remove_close
#ifdef WRONG_RMDIR_OF_W
    :: word != 0 && dir[word - 1].holder != 0 -> goto remove_close
    :: word != 0 && dir[word - 1].holder == 0 ->
#else
    :: word != 0 ->
#endif
       SAY2("%c: takes W away: was directory %d, file %d\n", word - 1, dir[word - 1].holder - 1);
       assert(!plain_holds);
       if
       :: why == to_break ->
          /* A forced break removes the hold that was meant, and none that was granted later. */
          assert(aimed[me])
       :: else ->
          /* A stale break never removes a hold that lives. */
          assert(!hold_lives)
       fi;
#ifdef WRONG_RMDIR_OF_W
       removed = 1;
       d_step { if :: why == to_break && hold_lives -> forced[MAKER(seen - 1)] = 1 :: else fi; take_word_away(nowhere) }
       goto remove_close
#else
       removed = 1;
       d_step { if :: why == to_break && hold_lives -> forced[MAKER(FILE_AT_W)] = 1 :: else fi; take_word_away(on_its_way_out) }
#endif
    fi
  }
apart_open:
  /* `at` is open all the time; the name is looked up again, and there may be nothing. */
  if
  :: dir[at - 1].place == on_its_way_out
  :: else -> goto apart_done
  fi;
apart_unlink:
  atomic {
    MAY_END_HERE;
    d_step { unlink_holder(at - 1); SAY("%c: unlinks holder from what it took away\n") }
  }
apart_rmdir:
  atomic {
    MAY_END_HERE;
    if
    :: dir[at - 1].place == on_its_way_out && dir[at - 1].holder == 0 ->
       d_step { dir[at - 1].place = nowhere; tell_of_dir(at - 1); SAY("%c: removes what it took away\n") }
#ifndef WRONG_TAKEN_APART_ONCE
    :: dir[at - 1].place == on_its_way_out && dir[at - 1].holder != 0 -> SAY("%c: rmdir: ENOTEMPTY\n"); goto apart_unlink
#else
    :: dir[at - 1].place == on_its_way_out && dir[at - 1].holder != 0 -> SAY("%c: rmdir: ENOTEMPTY\n")
#endif
    :: dir[at - 1].place != on_its_way_out
    fi
  }
apart_done:
  if
  :: mine != 0 -> goto released  /* it was its own release */
  :: mine == 0 && why == to_break -> goto remove_close
  :: mine == 0 && why != to_break
  fi;
remove_own_name:
  atomic {
    MAY_END_HERE;
    d_step {
      /* The maker is dead, or has given up and unlinks it itself. */
      if
      :: ended[MAKER(seen - 1)] && file[seen - 1].links > 0 -> file[seen - 1].links--; tell_of_file(seen - 1)
      :: else
      fi
    }
  }
remove_close:
  atomic {
    MAY_END_HERE;
    d_step { tell_of_file(seen - 1); SAY("%c: closes W/holder: the event\n") }
  }
remove_drop:
  atomic {
    d_step {
      drop_remove_of(seen - 1);
      update = 0; file[seen - 1].opens--;
      SAY("%c: closes W/holder: the locks\n");
      if :: busy != 0 -> busy_at = at; busy_number = n :: else fi;
      close_look()
    }
    if
    :: busy != 0 -> goto wait_in_turn
    :: busy == 0 && why == to_acquire -> goto try
    :: busy == 0 && why != to_acquire && removed -> goto next
    :: busy == 0 && why != to_acquire && !removed -> goto look
    fi
  }

release_lock:
  atomic {
    MAY_END_HERE;
    d_step {
      holding[me] = 0; was_forced = forced[me];
#if defined(WRONG_NO_REMOVE) || defined(WRONG_RELEASE_WITHOUT_REMOVE)
      locked = 1
#else
      if
      :: !REMOVE_IS_SOMEBODYS(claim - 1, number) ->
         file[claim - 1].remove[number] = me + 1;
         locked = 1;
         SAY1("%c: releases: locks REMOVE of hold %d\n", number)
      :: else -> locked = 0; SAY1("%c: releases: REMOVE of hold %d is somebody else's\n", number)
      fi
#endif
    }
  }
release_look:
  atomic {
    MAY_END_HERE;
    if
    :: word != mine ->
       /* Only a hold that was broken by force is lost, and its holder is told. */
       assert(forced[me]);
       forced[me] = 0;
       SAY("%c: is told that its hold was lost\n");
       goto released
    :: word == mine && locked -> assert(!was_forced)
    :: word == mine && !locked -> assert(!was_forced); goto give_up_unlock
    fi
  }
#ifdef WRONG_RMDIR_OF_W
  atomic { MAY_END_HERE; d_step { unlink_holder(mine - 1); SAY("%c: unlink(W/holder)\n") } }
#endif
release_rename:
  atomic {
    MAY_END_HERE;
    if
#ifdef WRONG_RMDIR_OF_W
    :: word == 0 || dir[word - 1].holder != 0 -> forced[me] = 0; goto released
    :: word != 0 && dir[word - 1].holder == 0 ->
       assert(word == mine);
       d_step { forced[me] = 0; take_word_away(nowhere) }
       goto released
#else
    :: word != 0 ->
       SAY1("%c: takes its W away: was directory %d\n", word - 1);
       /* A release removes the own hold and no other. */
       assert(word == mine && hold_lives);
       forced[me] = 0;
       if
       :: mine == kept -> d_step { skip; take_word_away(at_own_name) } goto released
       :: mine != kept -> d_step { take_word_away(on_its_way_out); at = mine; dir[at - 1].opens++ } goto apart_unlink
       fi
#endif
    fi
  }
released:
  atomic {
    d_step {
      if :: mine != kept -> i = mine - 1; dir[i].opens--; give_number_back_of_dir(i); i = 0 :: else fi;
      mine = 0;
      close_look()
    }
    goto next
  }

give_up_unlock:
  atomic {
    MAY_END_HERE;
    d_step { file[claim - 1].live = 0; if :: word == mine -> hold_lives = 0 :: else fi; SAY("%c: unlocks LIVE\n") }
  }
give_up_mark:
  atomic {
    MAY_END_HERE;
    d_step {
      file[claim - 1].released = 1; forced[me] = 0;
      tell_of_file(claim - 1);
      if :: mine != kept -> i = mine - 1; dir[i].opens--; give_number_back_of_dir(i); i = 0 :: else fi;
      mine = 0;
      close_kept();
      SAY("%c: marks its record as released\n")
    }
  }
give_up_name:
  atomic {
    MAY_END_HERE;
    d_step { own_name = 0; file[claim - 1].links--; tell_of_file(claim - 1); SAY("%c: unlinks its own name\n") }
  }
give_up_close:
  atomic {
    MAY_END_HERE;
    d_step { tell_of_file(claim - 1); SAY("%c: closes its claim: the event\n") }
  }
give_up_drop:
  atomic {
    d_step { SAY("%c: closes its claim: the locks\n"); close_claim() }
    goto next
  }

noted:
  atomic {
    MAY_END_HERE;
    d_step {
      victim = file[seen - 1].nonce; victim_number = n;
      SAY2("%c: has seen a holder: file %d, hold %d\n", seen - 1, n);
      close_look();
      why = to_break
    }
    goto look
  }
break_it:
  if
  :: victim != file[seen - 1].nonce || victim_number != n -> d_step { skip; close_look() } goto next
  :: else -> goto remove_open
  fi;

  /* ---- Another program ---- */
plain_mkdir:
  atomic {
    if
    :: todo == 0 -> goto is_over
    :: todo > 0 && word == 0 ->
       d_step {
         new_dir(i, at_w, 0);
         word = i + 1; todo--;
         tell_of_names();
         plain_holds = 1;
         SAY1("%c: plain mkdir(W): holds directory %d\n", i);
         mine = i + 1; i = 0;
         do
         :: x < ALL -> assert(!holding[x] || forced[x]); x++
         :: else -> x = 0; break
         od
       }
    fi
  }
plain_rmdir:
  atomic {
    SAY("%c: plain rmdir(W)\n");
    /* Nobody entered it, nobody took it away. */
    assert(word == mine && dir[word - 1].holder == 0);
    d_step { plain_holds = 0; i = mine - 1; take_word_away(nowhere); i = mine - 1; mine = 0; give_number_back_of_dir(i); i = 0 }
    goto plain_mkdir
  }

  /* ---- The end ---- */
leave:
  atomic {
    if
    :: true ->
       MAY_END_HERE;
       d_step { drop_claim(); SAY("%c: drops its claim, and lives on\n") }
    fi;
    goto is_over
  }

dies:
  atomic {
    d_step {
      holding[me] = 0; forced[me] = 0; aimed[me] = 0; i = 0;
      forget_watches();
      if
      :: claim != 0 && word != 0 && dir[word - 1].holder == claim -> hold_lives = 0
      :: else
      fi;
      if :: mine != 0 && word == mine -> hold_lives = 0 :: else fi;
      if :: claim != 0 -> tell_of_file(claim - 1) :: else fi
    }
  }
  if
  :: claim != 0 -> d_step { close_claim(); SAY("%c: is dying: its claim's locks\n") }
  :: else
  fi;
  if
  :: update ->
     d_step { update = 0; tell_of_file(seen - 1) }
     d_step { drop_remove_of(seen - 1); file[seen - 1].opens--; SAY("%c: is dying: its REMOVE\n") }
  :: else
  fi;
  d_step {
    if :: mine != 0 && mine != kept -> i = mine - 1; dir[i].opens--; give_number_back_of_dir(i); i = 0 :: else fi;
    mine = 0;
    close_kept();
    close_look();
    ended[me] = 1;
    SAY("%c: is dead\n")
  }
  goto is_over;

stops_here:
  atomic { stopped[me] = 1; forget_watches(); SAY("%c: ...\n") }

is_over:
  atomic {
    if
    :: me == LAST && CRASHES == 0 && STOPS == 0 ->
       /* Nothing is left behind under a name that nobody will look at again. */
       do
       :: x < INODES -> assert(dir[x].place != on_its_way_out); x++
       :: else -> x = 0; break
       od
    :: else
    fi;
    d_step {
      todo = 0; made = 0; claim = 0; own_name = 0; kept = 0; number = 0; used = 0; numbered = 0; locked = 0; was_forced = 0;
      mine = 0; why = to_acquire; at = 0; seen = 0; n = 0; mark = 0; dead = 0; update = 0; busy = 0; busy_at = 0; busy_number = 0;
      made_it = 0; removed = 0;
      victim = 0; victim_number = 0; i = 0; j = 0;
      over++
    }
  }
}

init {
  atomic {
    byte p;
    do
    :: p < LOCKERS + PLAIN -> run participant(p, ROUNDS); p++
    :: p >= LOCKERS + PLAIN && p < MORTALS -> run participant(p, BREAKS); p++
    :: p == MORTALS -> run participant(p, 1); p = 0; break
    od
  }
}
