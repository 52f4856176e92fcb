/* event_count.pml -- the idle protocol of docs/idle.md as a document that runs: parking, waking, searching.
 *
 * The shipped code is checked by tests/model/idle.cpp, orders and all. This is the protocol alone, on one
 * sequentially consistent memory (the seq_cst accesses of docs/memory_orders.md), small enough to be read in one
 * go and to be searched completely. Names in [] are the tags of cpp/include/tailrace/sched/idle.hpp.
 *
 *   spin -DNO_SECOND_LOOK -a event_count.pml && cc -DSAFETY -o pan pan.c && ./pan
 *
 * Property, held at every rest of the system (Judge): if an item lies in the queue, then no worker is asleep.
 * A body may take for ever, so "some other worker comes by later" does not count.
 *
 * ASYMMETRIC      pushers publish into a store buffer; who goes to sleep drains all buffers (membarrier, [E8]).
 * Mutants, each of which must violate the property:
 *   NO_SECOND_LOOK   a worker parks without looking once more after it has shown its bit
 *   LOOKS_FIRST      it looks before its bit is shown (what a weaker order than seq_cst at [E4] would allow)
 *   NOTIFIES_FIRST   the pusher reads the sleepers before its item is there (as a weaker order at [E2])
 *   NO_LAST_LOOK     the last searcher that finds work does not look for more
 *   NOT_SEARCHING    work found at the second look is taken without counting as searching
 *   NOT_WAITING      a worker whose bit was taken sleeps anew before that waker has written
 *   NO_MEMBARRIER    (with ASYMMETRIC) who goes to sleep does not drain the buffers
 */
#define WORKERS 2
#ifndef ITEMS
#define ITEMS 3
#endif

byte queue = 0;               /* items that everybody sees */
byte buffered = 0;            /* items in the pusher's store buffer */
short searching = 0;          /* may be below zero for a moment: a waker counts its worker late */
bool shown[WORKERS] = false;    /* I am a sleeper */
bool asleep[WORKERS] = false; /* the parking word */
bool in_park[WORKERS] = false;

/* Wakes one sleeper, unless somebody searches. */
inline notify() {
  if
  :: searching > 0 /* [E1] */
  :: else ->
     w = 0;
     do
     :: w == WORKERS -> break
     :: w < WORKERS ->
        won = false;
        atomic { if :: shown[w] -> shown[w] = false; won = true :: else fi } /* [E2] [E6]: one waker for each bit */
        if
        :: won ->
           searching++;       /* [E3] on behalf of the one it wakes */
           asleep[w] = false; /* [E6] -> [E7] */
           break
        :: else -> w++
        fi
     od
  fi
}

proctype Pusher() {
  byte i = 0, w;
  bool won;
  do
  :: i == ITEMS -> break
  :: else ->
#ifdef NOTIFIES_FIRST
     notify();
     queue++;
#elif defined(ASYMMETRIC)
     buffered++; /* a plain release store */
     if
     :: shown[0] || shown[1] -> atomic { queue = queue + buffered; buffered = 0 }; notify() /* must_notify: order, then notify */
     :: else /* nobody sleeps: nothing more to do */
     fi;
#else
     queue++; /* seq_cst publication */
     notify();
#endif
     i++
  od
}

#ifdef ASYMMETRIC
/* The store buffer drains by itself, some time. */
active proctype Machine() {
end:
  do
  :: atomic { buffered > 0 -> queue = queue + buffered; buffered = 0 }
  od
}
#endif

proctype Worker(byte me) {
  byte w;
  bool won, found, due = false, counted = false;
  do
  :: /* look, and take */
     atomic { found = queue > 0; if :: found -> queue-- :: else fi }
     if
     :: found ->
        if
        :: counted ->
           counted = false;
           atomic { searching--; won = searching <= 0 } /* [E3] was it the last searcher? */
#ifndef NO_LAST_LOOK
           if :: won && queue > 0 -> notify() :: else fi
#endif
        :: else
        fi;
        if
        :: skip  /* the body ends */
        :: break /* the body never ends */
        fi
     :: else ->
        if
        :: !counted && searching * 2 < WORKERS -> searching++; counted = true /* begin_search; looks once more above */
        :: else ->
           if :: counted -> counted = false; searching-- :: else fi; /* [E3] end_search */
#ifndef NOT_WAITING
           if :: due -> !asleep[me]; due = false :: else fi;         /* [E7] a late waker writes before we sleep anew */
#endif
#ifdef LOOKS_FIRST
           found = queue > 0;
#endif
           asleep[me] = true;
           shown[me] = true; /* [E4] */
#if defined(ASYMMETRIC) && !defined(NO_MEMBARRIER)
           atomic { queue = queue + buffered; buffered = 0 } /* [E8] membarrier */
#endif
#if !defined(LOOKS_FIRST) && !defined(NO_SECOND_LOOK)
           found = queue > 0;
#endif
#ifdef NO_SECOND_LOOK
           found = false;
#endif
           if
           :: found -> /* cancel_park */
              atomic { due = !shown[me]; shown[me] = false } /* [E5] chosen by a waker meanwhile? */
#ifdef NOT_SEARCHING
              counted = due
#else
              if :: due :: else -> searching++ fi;
              counted = true
#endif
           :: else ->
              in_park[me] = true;
end_parked:   !asleep[me]; /* [E7] */
              in_park[me] = false;
              counted = true
           fi
        fi
     fi
  od
}

/* At rest: nobody can take a step any more. */
active proctype Judge() {
end:
  timeout -> assert(queue == 0 || !(in_park[0] || in_park[1]))
}

init {
  atomic { run Worker(0); run Worker(1); run Pusher() }
}
