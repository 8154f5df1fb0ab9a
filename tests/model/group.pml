/* Shared holders as a group: a model for spin of section 4 of the protocol's next step. NOTHING OF THIS IS IN src YET;
 * this is a first opinion on the wording before it is written. What exclusive holders do is as in lock_word.pml, coarser.
 *
 * W is absent, or the claim of an exclusive holder, or the claim of a reader that is alone (with LONE), or a group file
 * G. G's record names a directory D that was never used before; each member has an entry there, a link to its claim
 * under a name that holds its nonce and hold number.
 *
 *   step               what the protocol says                          calls
 *   make_group         "make D with the own entry, write G"            all of them: names that nobody else knows
 *   group_publish      "link(G, W)"                                    link
 *   look               a whole look (lock_word.pml has its parts)      open W, read, judge, stat W, read
 *   join_resolve       "read W, open D"                                open D by the name that G tells
 *   join_link          "linkat(claim, D, entry): the proof"            linkat to that descriptor
 *   close_lock         W is removed under REMOVE of G                  F_OFD_SETLK
 *   close_look         "with W still G"                                stat W
 *   close_unlink                                                       unlink(W)
 *   close_drop                                                         close
 *   leave_unlink       "unlink the own entry"                          unlink
 *   leave_rmdir        "rmdir(D)"                                      rmdir
 *   leave_clear        "clear dead entries"                            list, and for each: look, unlink
 *   leave_rmdir_again  "and try once more"                             rmdir
 *   others_clear       "whoever finds no live entry clears the dead    list, unlink
 *   others_rmdir       ones and calls rmdir(D)"                        rmdir
 *   lone_lock ...      "the second reader": REMOVE of W's inode, W     one call each: lone_lock, lone_look, lone_read,
 *                      still it, the record again, link(W, D/...),     lone_link, lone_rename, lone_drop
 *                      rename(G, W)
 *   lone_find          the first reader's release: "W is not it: it    open W, open D
 *                      finds its hold in the group"
 *   break_*            forced breaks of a member and of the group      as the names say
 *   stale_*, release_*, give_up_*, wait_*                              as in lock_word.pml, coarser
 *
 * A lookup of D's name and the step in D are two steps. Entries are removed by name without a look: a name that holds a
 * nonce and a number is never used twice. The clearing of several dead entries is one step, for a dead claim stays dead.
 * REMOVE of a claim is one byte for each hold (decision 0014), and a release keeps it; G stands for one group only and has
 * one byte.
 *
 * Left out: inode numbers given out again, close events before the locks drop, broken looks: lock_word.pml has them;
 * upgradable members. Bounds, each by -D: READERS and WRITERS lock and unlock ROUNDS times; BREAKERS break BREAKS times
 * by force a hold that they saw, or with BREAKS_GROUPS also a whole group; CRASHES, STOPS; LONE: a reader alone holds
 * with its claim. A last caller wants the lock for itself at the end. */

#ifndef READERS
#define READERS 2
#endif
#ifndef WRITERS
#define WRITERS 1
#endif
#ifndef BREAKERS
#define BREAKERS 0
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
#define MORTALS (READERS + WRITERS + BREAKERS)
#define LAST MORTALS
#define ALL (MORTALS + 1)
#define IS_READER(who) (who < READERS)
#define IS_BREAKER(who) (who >= READERS + WRITERS && who < MORTALS)

/* ---- The file system ---- */

#define LIVES 2           /* claims that one participant can make: it gives one up in a slow release */
#define CLAIMS (ALL * LIVES)
#define MAKER(c) ((c) / LIVES)
#ifndef BYTES
#define BYTES 8           /* of REMOVE; 1: as if there were one for all holds, given back before the next */
#endif
#define BYTE_OF(number) ((number) % BYTES)

typedef Claim {
  byte number;
  bit shared;
  bit released;
  bit live;
  byte remove[BYTES];     /* participant + 1 */
}
Claim claims[CLAIMS];

#ifndef MAKES
#define MAKES 3           /* groups that one reader can make */
#endif
#define GROUPS (READERS * MAKES)
#define CREATOR(k) ((k) / MAKES)
typedef Group {
  bit d_exists;
  byte entry[CLAIMS];     /* number of the hold that has an entry in D; 0: none */
  byte remove;            /* participant + 1 who has locked REMOVE of G */
}
Group groups[GROUPS];

byte word;                /* 0: absent; claim + 1; or 100 + group */
#define GROUP_OF(w) ((w) - 100)
#define IS_GROUP(w) ((w) >= 100)

/* ---- Waiters ---- */

byte watched[ALL];        /* as `word` */
short watched_claims[ALL]; /* with the pidfds of their makers: a bit for each claim */
bit noticed[ALL];

/* ---- Fates ---- */

byte crashes = CRASHES;
byte stops = STOPS;
short ended;              /* a bit for each claim of a participant that has */
bit stopped[ALL];
byte over;
#define HAS_ENDED(p) ((ended >> ((p) * LIVES)) & 1)

/* ---- What the laws speak of ---- */

mtype = { none, reads, writes };
mtype holding[ALL] = none;  /* between lock() and unlock() */
bit forced[ALL];
bit hold_lives[ALL];        /* has not ended its hold, and lives */
byte hold_claim[ALL];       /* the hold: claim + 1, */
byte hold_number[ALL];      /* number, */
byte hold_group[ALL];       /* group + 1 */

byte x;
short y;

inline tell_of(w) {       /* an event of that claim, or of that G */
  do
  :: x < ALL ->
     if
     :: watched[x] == (w) -> noticed[x] = 1
#ifndef WRONG_CLAIMS_OF_MEMBERS_NOT_WATCHED
     :: watched[x] != (w) && (w) < 100 && ((watched_claims[x] >> ((w) - 1)) & 1) -> noticed[x] = 1
#endif
     :: else
     fi;
     x++
  :: else -> x = 0; break
  od
}
#ifdef WRONG_WATCHES_G_ONLY
#define TELL_OF_D(k) skip
#else
#define TELL_OF_D(k) tell_of(100 + (k))
#endif

#define IS_DEAD(c) (HAS_ENDED(MAKER(c)) || (!claims[c].live && claims[c].released))

/* y: has D an entry, of somebody that lives (`only_live`) or of anybody? */
inline find_entry(k, only_live) {
  y = 0;
  do
  :: x < CLAIMS ->
     if
     :: groups[k].entry[x] != 0 && (!only_live || !IS_DEAD(x)) -> y = 1
     :: else
     fi;
     x++
  :: else -> x = 0; break
  od
}

/* A hold's entry or word is taken by somebody else: it must be dead, or be broken by force. */
#define IS_A_LIVE_HOLD(c, n) (hold_lives[MAKER(c)] && hold_claim[MAKER(c)] == (c) + 1 && hold_number[MAKER(c)] == (n))
#define MUST_BE_DEAD(c, n) assert(!IS_A_LIVE_HOLD(c, n))
#define IS_FORCED(c, n) if :: IS_A_LIVE_HOLD(c, n) -> forced[MAKER(c)] = 1 :: else fi

inline clear_dead_entries(k) {
  do
  :: x < CLAIMS ->
     if
     :: groups[k].entry[x] != 0 && IS_DEAD(x) -> MUST_BE_DEAD(x, groups[k].entry[x]); groups[k].entry[x] = 0; y = 1
     :: else
     fi;
     x++
  :: else -> x = 0; break
  od;
  if :: y -> y = 0; TELL_OF_D(k) :: else fi
}

inline drop_remove_of_claim(c) {
  do
  :: x < BYTES -> if :: claims[c].remove[x] == me + 1 -> claims[c].remove[x] = 0 :: else fi; x++
  :: else -> x = 0; break
  od
}

inline granted(how, k) {
  /* Exclusive excludes everybody, but for those that were broken by force. */
  do
  :: x < ALL ->
     assert(x == me || holding[x] == none || forced[x] || (how == reads && holding[x] == reads));
     x++
  :: else -> x = 0; break
  od;
  holding[me] = how; hold_lives[me] = 1; forced[me] = 0;
  hold_claim[me] = claim; hold_number[me] = claims[claim - 1].number; hold_group[me] = k;
  used = 1;
  watched[me] = 0; watched_claims[me] = 0; noticed[me] = 0
}
inline hold_is_over() {
  hold_lives[me] = 0; hold_claim[me] = 0; hold_number[me] = 0; hold_group[me] = 0; forced[me] = 0; holding[me] = none
}

/* W is taken away while it is G: nobody may be in that group. */
inline must_be_closed(k) {
  do
  :: x < ALL -> assert(!(hold_lives[x] && hold_group[x] == (k) + 1 && !forced[x])); x++
  :: else -> x = 0; break
  od
}

inline undo_group() {
  groups[mine].d_exists = 0;
  do
  :: x < CLAIMS -> groups[mine].entry[x] = 0; x++
  :: else -> x = 0; break
  od;
  mine = 0; made_group = 0;
  makes--  /* its name was never told: it may serve again */
}

#define REMOVE_AT_W claims[word - 1].remove[BYTE_OF(claims[word - 1].number)]
/* A stopped process is in, or is removing. */
#define HOPELESS \
  (word != 0 && ((word < 100 && REMOVE_AT_W != 0 && \
                  stopped[REMOVE_AT_W - 1]) || \
                 (word >= 100 && groups[word - 100].remove != 0 && stopped[groups[word - 100].remove - 1]) || \
                 SOMEBODY_STOPPED_IS_IN))
#if READERS + WRITERS == 1
#define SOMEBODY_STOPPED_IS_IN IN(0)
#elif READERS + WRITERS == 2
#define SOMEBODY_STOPPED_IS_IN (IN(0) || IN(1))
#elif READERS + WRITERS == 3
#define SOMEBODY_STOPPED_IS_IN (IN(0) || IN(1) || IN(2))
#else
#define SOMEBODY_STOPPED_IS_IN (IN(0) || IN(1) || IN(2) || IN(3))
#endif
#define IN(p) (stopped[p] && hold_lives[p])

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
  byte claim;             /* + 1 */
  byte lives;             /* claims made */
  byte makes;             /* groups made */
  bit used = 1;
  bit numbered;
  mtype why = to_acquire;
  byte seen;              /* what W was, as `word` */
  byte n;                 /* number, if that is a claim */
  byte at;                /* group + 1 whose D it has open, or whose G it closes */
  byte mine;              /* the group that it has made, while it is not W */
  bit made_group;
  bit removed;
  bit locked;
  bit was_forced;
  bit ends;               /* the closing of a group ends its own hold */
  byte victim;            /* claim + 1 whose hold is to be broken, */
  byte victim_number;
  byte victim_group;      /* or group + 1 */
  byte i;

  if
  :: me == LAST -> over == MORTALS
  :: else
  fi;

next:
  atomic {
    d_step {
      numbered = 0; seen = 0; n = 0; at = 0; mine = 0; made_group = 0; removed = 0; locked = 0; was_forced = 0; ends = 0;
      victim = 0; victim_number = 0; victim_group = 0; i = 0; why = to_acquire
    }
    if
    :: todo == 0 -> SAY("%c: has done all it wanted, and lives on\n"); goto is_over
    :: todo > 0 && !IS_BREAKER(me) -> todo--; goto begin_hold
    :: todo > 0 && IS_BREAKER(me) -> todo--; why = to_note; goto look
    fi
  }

begin_hold:
  atomic {
    MAY_END_HERE;
    d_step {
      if
      :: claim == 0 ->
         assert(lives < LIVES);  /* a bound of the model */
         claim = me * LIVES + lives + 1; lives++;
         claims[claim - 1].live = 1
      :: else
      fi;
      if
      :: used ->
         claims[claim - 1].number++; used = 0;
         if :: claims[claim - 1].number % BYTES == 0 -> drop_remove_of_claim(claim - 1) :: else fi
      :: else
      fi;
      claims[claim - 1].shared = IS_READER(me);
      tell_of(claim);
      SAY2("%c: writes number %d, shared %d\n", claims[claim - 1].number, IS_READER(me))
    }
  }

try:
  if
  :: IS_READER(me) -> goto look
  :: else
  fi;
write_publish:
  atomic {
    MAY_END_HERE;
    if
    :: word == 0 ->
       d_step { word = claim; tell_of(claim); SAY1("%c: link(claim, W): holds alone, hold %d\n", claims[claim - 1].number); granted(writes, 0) }
       goto release_lock
    :: else -> SAY("%c: link(claim, W): EEXIST\n")
    fi
  }

look:
  atomic {
    MAY_END_HERE;
    d_step { seen = word; n = 0; if :: word != 0 && !IS_GROUP(word) -> n = claims[word - 1].number :: else fi }
    if
    :: seen == 0 && why != to_acquire -> SAY("%c: looks at W: ENOENT\n"); goto next
    :: seen == 0 && why == to_acquire && !IS_READER(me) -> SAY("%c: looks at W: ENOENT\n"); goto try
#ifdef LONE
    :: seen == 0 && why == to_acquire && IS_READER(me) -> SAY("%c: looks at W: ENOENT\n"); goto lone_publish
#else
    :: seen == 0 && why == to_acquire && IS_READER(me) -> SAY("%c: looks at W: ENOENT\n"); goto make_group
#endif
    :: IS_GROUP(seen) -> SAY1("%c: looks at W: group %d\n", GROUP_OF(seen)); goto look_group
    :: seen != 0 && !IS_GROUP(seen) ->
       SAY2("%c: looks at W: claim %d, hold %d\n", seen - 1, n);
       if
       :: why == to_note -> victim = seen; victim_number = n; why = to_break; seen = 0; n = 0; goto look
       :: why == to_break && victim == seen && victim_number == n -> goto stale_lock
       :: why == to_break && !(victim == seen && victim_number == n) -> goto next
       :: why == to_acquire && IS_DEAD(seen - 1) -> goto stale_lock
#ifdef LONE
       :: why == to_acquire && !IS_DEAD(seen - 1) && IS_READER(me) && claims[seen - 1].shared -> goto make_group
       :: why == to_acquire && !IS_DEAD(seen - 1) && !(IS_READER(me) && claims[seen - 1].shared) -> goto wait_arm
#else
       :: why == to_acquire && !IS_DEAD(seen - 1) -> goto wait_arm
#endif
       fi
    fi
  }

  /* ---- W was seen to be a group ---- */
look_group:
  if
  :: why == to_acquire && IS_READER(me) -> goto join_resolve
  :: why == to_acquire && !IS_READER(me)
  :: why == to_note -> goto note_group
  :: why == to_break -> goto break_in_group
  fi;
others_look:
  atomic {
    MAY_END_HERE;
    d_step { if :: groups[GROUP_OF(seen)].d_exists -> find_entry(GROUP_OF(seen), 1); i = y; y = 0 :: else -> i = 2 fi }
    if
    :: i == 1 -> i = 0; goto wait_arm
    :: i == 2 -> i = 0; at = GROUP_OF(seen) + 1; SAY("%c: its D is gone\n"); goto close_lock
    :: i == 0 -> SAY("%c: nobody lives in D\n")
    fi
  }
#ifdef WRONG_NO_RMDIR_BY_OTHERS
  goto wait_arm;
#endif
others_clear:
  atomic {
    MAY_END_HERE;
    d_step { clear_dead_entries(GROUP_OF(seen)); SAY("%c: clears dead entries\n") }
  }
others_rmdir:
  atomic {
    MAY_END_HERE;
    d_step {
#ifdef WRONG_CLOSED_BY_LISTING
      find_entry(GROUP_OF(seen), 0); i = y; y = 0
#else
      if
      :: groups[GROUP_OF(seen)].d_exists ->
         find_entry(GROUP_OF(seen), 0);
         if :: y == 0 -> groups[GROUP_OF(seen)].d_exists = 0; TELL_OF_D(GROUP_OF(seen)); SAY("%c: rmdir(D)\n") :: else -> i = 1; SAY("%c: rmdir(D): ENOTEMPTY\n") fi;
         y = 0
      :: else
      fi
#endif
    }
    if
    :: i == 1 -> i = 0; seen = 0; goto look
    :: i == 0 -> at = GROUP_OF(seen) + 1; goto close_lock
    fi
  }

  /* ---- The group `at` is closed: W goes, whoever does it ---- */
close_lock:
  atomic {
#ifndef WRONG_CLOSED_WITHOUT_REMOVE
    MAY_END_HERE;
    if
    :: groups[at - 1].remove == 0 -> groups[at - 1].remove = me + 1; SAY("%c: locks REMOVE of G\n")
    :: else -> SAY("%c: REMOVE of G is somebody else's\n"); goto close_busy
    fi
#else
    skip
#endif
  }
close_look:
  atomic {
    MAY_END_HERE;
    if
#ifndef WRONG_CLOSED_BY_NAME
    :: word != 100 + at - 1 -> SAY("%c: W is not G any more\n"); goto close_drop
    :: word == 100 + at - 1
#else
    :: word == 0 -> goto close_drop
    :: word != 0
#endif
    fi
  }
close_unlink:
  atomic {
    MAY_END_HERE;
    if
    :: word == 0 -> goto close_drop
    :: else ->
       SAY1("%c: unlink(W): was %d\n", word);
       d_step {
         if
         :: IS_GROUP(word) -> must_be_closed(GROUP_OF(word))
         :: else -> MUST_BE_DEAD(word - 1, claims[word - 1].number)
         fi;
         i = word; word = 0; tell_of(i); i = 0
       }
    fi
  }
close_drop:
  atomic {
    d_step { if :: groups[at - 1].remove == me + 1 -> groups[at - 1].remove = 0 :: else fi; tell_of(100 + at - 1) }
    if
    :: ends -> goto next
    :: !ends -> at = 0; seen = 0; goto look_after
    fi
  }
close_busy:
  atomic {
    if
    :: ends -> goto next  /* whoever has REMOVE removes W, or the next one finds D gone */
    :: !ends && (word != 100 + at - 1 || groups[at - 1].remove == 0) -> at = 0; seen = 0; goto look_after
    :: !ends && HOPELESS -> goto deadline
    :: !ends && me != LAST && crashes > 0 -> crashes--; goto dies
    fi
  }
look_after:
  if
  :: why == to_acquire -> goto try
  :: else -> goto next
  fi;

  /* ---- A group of one's own: D with the own entry, and G ---- */
make_group:
  atomic {
    MAY_END_HERE;
    d_step {
      assert(makes < MAKES);  /* a bound of the model */
      mine = me * MAKES + makes; makes++; made_group = 1;
      groups[mine].d_exists = 1;
      groups[mine].entry[claim - 1] = claims[claim - 1].number;
      SAY1("%c: makes group %d, with its own entry in D\n", mine)
    }
#ifdef LONE
    if
    :: seen != 0 -> goto lone_lock
    :: else
    fi
#endif
  }
group_publish:
  atomic {
    MAY_END_HERE;
    if
    :: word == 0 ->
       d_step {
         word = 100 + mine; at = mine + 1; mine = 0; made_group = 0;
         SAY1("%c: link(G, W): holds in group %d\n", at - 1);
         granted(reads, at)
       }
       goto leave_unlink
    :: else ->
       d_step { undo_group(); SAY("%c: link(G, W): EEXIST; undoes it\n") }
       goto look
    fi
  }

join_resolve:
  atomic {
    MAY_END_HERE;
    d_step {
#ifdef WRONG_D_WITHOUT_COUNTER
      /* The name says no more than who made it: it finds whatever D of that maker is there. */
      i = 0;
      do
      :: x < MAKES -> if :: groups[CREATOR(GROUP_OF(seen)) * MAKES + x].d_exists -> i = CREATOR(GROUP_OF(seen)) * MAKES + x + 1 :: else fi; x++
      :: else -> x = 0; break
      od
#else
      i = (groups[GROUP_OF(seen)].d_exists -> GROUP_OF(seen) + 1 : 0)
#endif
    }
    if
    :: i == 0 -> at = GROUP_OF(seen) + 1; SAY("%c: opens D: ENOENT\n"); goto close_lock
    :: i != 0 -> at = i; i = 0; SAY("%c: opens D\n")
    fi
  }
join_link:
  atomic {
    MAY_END_HERE;
    if
    :: groups[at - 1].d_exists ->
       d_step {
         groups[at - 1].entry[claim - 1] = claims[claim - 1].number;
         TELL_OF_D(at - 1); tell_of(claim);
         SAY1("%c: linkat(claim, D): holds in group %d\n", at - 1);
         granted(reads, at)
       }
       goto leave_unlink
    :: else -> SAY("%c: linkat(claim, D): ENOENT, the group has closed\n"); goto close_lock
    fi
  }

  /* ---- A member leaves; `at`: its group + 1 ---- */
leave_unlink:
  atomic {
    MAY_END_HERE;
    seen = 0; n = 0;
    was_forced = forced[me]; holding[me] = none;
    if
    :: groups[at - 1].entry[claim - 1] == claims[claim - 1].number ->
       assert(!was_forced);
       d_step {
         groups[at - 1].entry[claim - 1] = 0;
         TELL_OF_D(at - 1); tell_of(claim);
         hold_is_over(); was_forced = 0;
         SAY("%c: unlinks its entry\n")
       }
    :: else ->
       /* Only a hold that was broken by force is lost, and its holder is told. */
       assert(forced[me]);
       d_step { hold_is_over(); SAY("%c: is told that its hold was lost\n") }
       goto next
    fi
  }
leave_rmdir:
  atomic {
    MAY_END_HERE;
    d_step {
      i = 0;
      if
      :: groups[at - 1].d_exists ->
         find_entry(at - 1, 0);
         if :: y == 0 -> groups[at - 1].d_exists = 0; TELL_OF_D(at - 1); SAY("%c: rmdir(D)\n") :: else -> i = 1; SAY("%c: rmdir(D): ENOTEMPTY\n") fi;
         y = 0
      :: else -> i = 2
      fi
    }
    if
    :: i == 0 -> ends = 1; goto close_lock
    :: i == 2 -> i = 0; goto next
    :: i == 1 && locked -> i = 0; goto next  /* tried once more; somebody is in */
    :: i == 1 && !locked -> i = 0; locked = 1
    fi
  }
leave_clear:
  atomic {
    MAY_END_HERE;
    d_step { if :: groups[at - 1].d_exists -> clear_dead_entries(at - 1) :: else fi; SAY("%c: clears dead entries\n") }
    goto leave_rmdir
  }

  /* ---- A reader alone, and the second one ---- */
lone_publish:
  atomic {
    MAY_END_HERE;
    if
    :: word == 0 ->
       d_step { word = claim; tell_of(claim); SAY1("%c: link(claim, W): reads alone, hold %d\n", claims[claim - 1].number); granted(reads, 0) }
       goto release_lock
    :: else -> SAY("%c: link(claim, W): EEXIST\n"); goto look
    fi
  }
#ifdef LONE
lone_lock:
#ifdef WRONG_LONE_NUMBER_BEFORE_REMOVE
#define LONE_N claims[seen - 1].number
#else
#define LONE_N n
#endif
#ifndef WRONG_LONE_WITHOUT_REMOVE
  atomic {
    MAY_END_HERE;
    if
    :: claims[seen - 1].remove[BYTE_OF(n)] == 0 -> claims[seen - 1].remove[BYTE_OF(n)] = me + 1; SAY1("%c: locks REMOVE of hold %d\n", n)
    :: else ->
       d_step { undo_group(); SAY("%c: REMOVE is somebody else's; undoes its group\n") }
       goto wait_in_turn
    fi
  }
#endif
lone_look:
  atomic {
    MAY_END_HERE;
    if
    :: word == seen -> SAY("%c: W still is it\n")
    :: else -> goto lone_undo
    fi
  }
lone_read:
#ifndef WRONG_LONE_NOT_READ_AGAIN
  atomic {
    MAY_END_HERE;
    if
    :: claims[seen - 1].number == n && claims[seen - 1].shared -> SAY1("%c: reads hold %d, shared\n", n)
    :: else -> goto lone_undo
    fi
  }
#endif
lone_link:
  atomic {
    MAY_END_HERE;
    if
    :: word != 0 && !IS_GROUP(word) ->
       d_step { groups[mine].entry[word - 1] = n; tell_of(word); SAY2("%c: link(W, D/entry): claim %d, hold %d\n", word - 1, n) }
    :: else -> goto lone_undo
    fi
  }
lone_rename:
  atomic {
    MAY_END_HERE;
    SAY1("%c: rename(G, W): holds in group %d\n", mine);
    d_step {
      /* The one that was alone goes on holding, in the group; nothing else may have stood at W. */
      if :: word == 0 || IS_GROUP(word) -> assert(false) :: else fi;
      i = word;
      if
      :: hold_lives[MAKER(i - 1)] && hold_claim[MAKER(i - 1)] == i && groups[mine].entry[i - 1] == hold_number[MAKER(i - 1)] ->
         hold_group[MAKER(i - 1)] = mine + 1
      :: else -> MUST_BE_DEAD(i - 1, claims[i - 1].number)
      fi;
      word = 100 + mine;
      tell_of(i); i = 0;
      at = mine + 1; mine = 0; made_group = 0;
      granted(reads, at)
    }
  }
lone_drop:
  atomic {
    MAY_END_HERE;
    d_step { drop_remove_of_claim(seen - 1); tell_of(seen); seen = 0; n = 0; SAY("%c: gives REMOVE back\n") }
    goto leave_unlink
  }
lone_undo:
  atomic {
    MAY_END_HERE;
    d_step { undo_group(); SAY("%c: undoes its group\n") }
  }
  atomic {
    d_step { drop_remove_of_claim(seen - 1); tell_of(seen); seen = 0; n = 0 }
    goto look
  }
#endif

  /* ---- Waiting ---- */
wait_arm:
  atomic {
    MAY_END_HERE;
    d_step {
      y = 0;
      if
      :: IS_GROUP(seen) ->
         do
         :: x < CLAIMS -> if :: groups[GROUP_OF(seen)].entry[x] != 0 && !IS_DEAD(x) -> y = y | (1 << x) :: else fi; x++
         :: else -> x = 0; break
         od
      :: else -> y = 1 << (seen - 1)
      fi;
#ifdef WRONG_WATCHES_G_ONLY
      if :: IS_GROUP(seen) -> y = 0 :: else fi;
#endif
      i = (watched[me] == seen && watched_claims[me] == y);
      watched[me] = seen; watched_claims[me] = y;
      if :: !i -> noticed[me] = 0; SAY1("%c: watches %d\n", seen) :: else fi;
      y = 0; seen = 0; n = 0
    }
    if
    :: i == 1 -> i = 0; goto wait_sleep
    :: i == 0 -> goto try
    fi
  }
wait_sleep:
  atomic {
    if
    :: noticed[me] || (watched_claims[me] & ended) != 0 -> watched[me] = 0; watched_claims[me] = 0; noticed[me] = 0; SAY("%c: wakes up\n")
    :: HOPELESS -> goto deadline
    :: me != LAST && crashes > 0 -> crashes--; SAY("%c: is killed in its sleep\n"); goto dies
    fi
  }
  goto try;
wait_in_turn:  /* REMOVE of claim `seen`, hold `n` */
  atomic {
    if
    :: word != seen || claims[seen - 1].remove[BYTE_OF(n)] == 0 -> seen = 0; n = 0; SAY("%c: looks again after a moment\n")
    :: HOPELESS -> goto deadline
    :: me != LAST && crashes > 0 -> crashes--; SAY("%c: is killed in its sleep\n"); goto dies
    fi;
    if
    :: why == to_acquire -> goto try
    :: else -> goto look
    fi
  }
deadline:
  atomic {
    d_step { watched[me] = 0; watched_claims[me] = 0; noticed[me] = 0; SAY("%c: gives up: a stopped process has it\n") }
    goto next
  }

  /* ---- W is a claim: a stale or a forced break ---- */
stale_lock:
  atomic {
    MAY_END_HERE;
    if
    :: claims[seen - 1].remove[BYTE_OF(n)] == 0 -> claims[seen - 1].remove[BYTE_OF(n)] = me + 1; SAY1("%c: locks REMOVE of hold %d\n", n)
    :: else -> goto wait_in_turn
    fi
  }
stale_look:
  atomic {
    MAY_END_HERE;
    if
    :: word == seen -> SAY("%c: W still is it\n")
    :: else -> goto stale_drop
    fi
  }
stale_read:
  atomic {
    MAY_END_HERE;
    if
    :: claims[seen - 1].number == n && (why == to_break || IS_DEAD(seen - 1))
    :: else -> goto stale_drop
    fi
  }
stale_unlink:
  atomic {
    MAY_END_HERE;
    assert(word == seen);
    SAY2("%c: unlink(W): was claim %d, hold %d\n", seen - 1, n);
    d_step {
      if
      :: why == to_break -> IS_FORCED(seen - 1, n); removed = 1
      :: else -> MUST_BE_DEAD(seen - 1, n)
      fi;
      word = 0; tell_of(seen)
    }
  }
stale_drop:
  atomic {
    MAY_END_HERE;
    d_step { drop_remove_of_claim(seen - 1); tell_of(seen); seen = 0; n = 0 }
    if
    :: why == to_acquire -> goto try
    :: why != to_acquire && removed -> goto next
    :: why != to_acquire && !removed -> goto look
    fi
  }

  /* ---- A hold with the own claim as W ends ---- */
release_lock:
  atomic {
    MAY_END_HERE;
    seen = 0; n = 0;
    d_step {
      holding[me] = none; was_forced = forced[me];
      i = claims[claim - 1].number;
      if
      :: claims[claim - 1].remove[BYTE_OF(i)] == 0 -> claims[claim - 1].remove[BYTE_OF(i)] = me + 1; locked = 1; SAY("%c: releases: locks REMOVE\n")
      :: else -> locked = 0; SAY("%c: releases: REMOVE is somebody else's\n")
      fi;
      i = 0
    }
  }
release_look:
  atomic {
    MAY_END_HERE;
    if
    :: word != claim && IS_READER(me) -> goto lone_find
    :: word != claim && !IS_READER(me) ->
       assert(forced[me]);
       d_step { hold_is_over(); SAY("%c: is told that its hold was lost\n") }
       goto next
    :: word == claim && !locked -> assert(!was_forced); goto give_up_unlock
    :: word == claim && locked -> assert(!was_forced)
    fi
  }
release_unlink:
  atomic {
    MAY_END_HERE;
    assert(word == claim);
    d_step { word = 0; tell_of(claim); hold_is_over(); SAY("%c: unlink(W)\n") }
    goto next
  }
lone_find:
  atomic {
#ifdef LONE
    MAY_END_HERE;
#ifdef WRONG_LONE_LOST_MEANS_BROKEN
    assert(forced[me]);
    d_step { hold_is_over() }
    goto next
#else
    if
    :: IS_GROUP(word) && groups[GROUP_OF(word)].entry[claim - 1] == claims[claim - 1].number ->
       at = GROUP_OF(word) + 1; locked = 0; SAY1("%c: finds its hold in group %d\n", at - 1);
       goto leave_unlink
    :: else ->
       assert(forced[me]);
       d_step { hold_is_over(); SAY("%c: is told that its hold was lost\n") }
       goto next
    fi
#endif
#else
    assert(false)
#endif
  }
give_up_unlock:
  atomic {
    MAY_END_HERE;
    d_step { claims[claim - 1].live = 0; SAY("%c: unlocks LIVE\n") }
  }
give_up_mark:
  atomic {
    MAY_END_HERE;
    d_step {
      claims[claim - 1].released = 1;
      tell_of(claim);
      hold_is_over();
      SAY("%c: marks its record as released\n")
    }
  }
give_up_close:
  atomic {
    MAY_END_HERE;
    d_step { tell_of(claim); drop_remove_of_claim(claim - 1); claim = 0; used = 1 }
    goto next
  }

  /* ---- Forced breaks in a group ---- */
note_group:
  atomic {
    MAY_END_HERE;
    i = 0;
    if
    :: groups[GROUP_OF(seen)].d_exists ->
       /* Any of the members. */
       do
       :: i + 1 < CLAIMS -> i++
       :: break
       od;
       if
       :: groups[GROUP_OF(seen)].entry[i] != 0 ->
          victim = i + 1; victim_number = groups[GROUP_OF(seen)].entry[i];
          SAY2("%c: has seen a member: claim %d, hold %d\n", i, victim_number)
#ifdef BREAKS_GROUPS
       :: groups[GROUP_OF(seen)].entry[i] == 0 && i == 0 ->
          victim_group = GROUP_OF(seen) + 1; SAY1("%c: has seen a group: %d\n", GROUP_OF(seen))
#endif
       :: else -> i = 0; goto next
       fi
    :: else -> goto next
    fi;
    i = 0; seen = 0; why = to_break;
    goto look
  }
break_in_group:
  if
  :: victim_group != 0 && victim_group != GROUP_OF(seen) + 1 -> goto next
  :: else -> at = GROUP_OF(seen) + 1
  fi;
#ifdef WRONG_GROUP_W_FIRST
  if
  :: victim_group != 0 ->
     atomic { MAY_END_HERE; if :: word == seen -> i = word; word = 0; tell_of(i); i = 0 :: else -> goto next fi }
  :: else
  fi;
#endif
break_lock:
  atomic {
    MAY_END_HERE;
    if
    :: groups[at - 1].remove == 0 -> groups[at - 1].remove = me + 1; SAY("%c: locks REMOVE of G\n")
    :: else -> SAY("%c: REMOVE of G is somebody else's\n"); goto break_busy
    fi
  }
break_look:
  atomic {
    MAY_END_HERE;
#ifndef WRONG_GROUP_W_FIRST
    if
    :: word != seen -> goto break_drop
    :: else
    fi
#else
    skip
#endif
  }
break_entries:
  atomic {
    MAY_END_HERE;
    d_step {
      i = 0;
      if
      :: victim != 0 ->
         if
         :: groups[at - 1].entry[victim - 1] == victim_number ->
            groups[at - 1].entry[victim - 1] = 0; IS_FORCED(victim - 1, victim_number); TELL_OF_D(at - 1); tell_of(victim);
            SAY("%c: unlinks the member's entry\n")
         :: else
         fi
      :: else ->
         do
         :: i < CLAIMS ->
            if
            :: groups[at - 1].entry[i] != 0 -> IS_FORCED(i, groups[at - 1].entry[i]); groups[at - 1].entry[i] = 0; tell_of(i + 1)
            :: else
            fi;
            i++
         :: else -> i = 0; break
         od;
         TELL_OF_D(at - 1);
         SAY("%c: unlinks all entries\n")
      fi
    }
    if
    :: victim != 0 -> removed = 1; goto break_drop
    :: else
    fi
  }
break_rmdir:
  atomic {
    MAY_END_HERE;
    d_step {
      i = 0;
      if
      :: groups[at - 1].d_exists ->
         find_entry(at - 1, 0);
         if :: y == 0 -> groups[at - 1].d_exists = 0; TELL_OF_D(at - 1); SAY("%c: rmdir(D)\n") :: else -> i = 1; SAY("%c: rmdir(D): ENOTEMPTY\n") fi;
         y = 0
      :: else
      fi
    }
    if
    :: i == 1 -> i = 0; goto break_entries
    :: i == 0 -> removed = 1
    fi
  }
break_word:
  atomic {
#ifndef WRONG_GROUP_W_FIRST
    MAY_END_HERE;
    assert(word == seen);
    d_step { must_be_closed(at - 1); i = word; word = 0; tell_of(i); i = 0; SAY("%c: unlink(W)\n") }
#else
    skip
#endif
  }
break_drop:
  atomic {
    MAY_END_HERE;
    d_step { groups[at - 1].remove = 0; tell_of(100 + at - 1); at = 0; seen = 0 }
    if
    :: removed -> goto next
    :: else -> goto look
    fi
  }
break_busy:
  atomic {
    if
    :: word != seen || groups[at - 1].remove == 0 -> at = 0; seen = 0; goto look
    :: HOPELESS -> goto deadline
    :: crashes > 0 -> crashes--; goto dies
    fi
  }

  /* ---- The end ---- */
dies:
  atomic {
   d_step {
    /* The locks drop, and then it is seen to have ended; close events first are lock_word.pml's. */
    if
    :: claim != 0 -> tell_of(claim); claims[claim - 1].live = 0; drop_remove_of_claim(claim - 1)
    :: else
    fi;
    if :: seen != 0 && !IS_GROUP(seen) -> drop_remove_of_claim(seen - 1) :: else fi;
    if :: at != 0 && groups[at - 1].remove == me + 1 -> groups[at - 1].remove = 0 :: else fi;
    hold_is_over();
    watched[me] = 0; watched_claims[me] = 0; noticed[me] = 0
  }
  }
  ended = ended | (3 << (me * LIVES));  /* LIVES bits */
  goto is_over;

stops_here:
  atomic { stopped[me] = 1; watched[me] = 0; watched_claims[me] = 0; noticed[me] = 0 }

is_over:
  atomic {
    d_step {
      todo = 0; claim = 0; lives = 0; makes = 0; used = 0; numbered = 0; why = to_acquire; seen = 0; n = 0; at = 0; mine = 0;
      made_group = 0; removed = 0; locked = 0; was_forced = 0; ends = 0; victim = 0; victim_number = 0; victim_group = 0; i = 0;
      over++
    }
  }
}

init {
  atomic {
    byte p;
    do
    :: p < READERS + WRITERS -> run participant(p, ROUNDS); p++
    :: p >= READERS + WRITERS && p < MORTALS -> run participant(p, BREAKS); p++
    :: p == MORTALS -> run participant(p, 1); p = 0; break
    od
  }
}
