/* lane_claim.pml -- the injection lane of cpp/include/tailrace/queue/inject_lane.hpp: one producer, two consumers.
 *
 * Consumers copy the oldest cells first and claim them afterwards, by a compare-and-swap of `head`; so a copy may be of
 * cells that change under it, and the claim then has to fail. The shipped code, with its orders, is checked by
 * tests/model/inject_lane.cpp; this is the protocol alone, complete for the sizes below.
 *
 * Property: what a successful claim has copied is what the producer put there ([L4] after the copies, [L1] before a cell
 * is reused), every cell is claimed exactly once, and the producer never waits for a consumer that stands still: a lane
 * that is full says so.
 *
 * Mutants, each of which must violate the property:
 *   CLAIM_BEFORE_COPY   the compare-and-swap comes first: the producer may reuse the cells before they are copied
 *   BLIND_CLAIM         `head` is stored instead of compared and swapped: two consumers claim the same cells
 *   NO_FULL_CHECK       the producer does not look at `head` before it reuses a cell
 */
#define CELLS 2
#define PUSHES 4
#define LIMIT 2

byte head = 0, tail = 0; /* only grow: no ABA */
byte cell[CELLS] = 255;  /* what was put there: its own number */
bool claimed[PUSHES] = false;
byte claims = 0, refused = 0;

proctype Producer() {
  byte i = 0;
  do
  :: i == PUSHES -> break
  :: else ->
     if
#ifndef NO_FULL_CHECK
     :: tail - head == CELLS -> refused++; break /* [L1] full: the caller runs the work itself */
#endif
     :: else ->
        cell[tail % CELLS] = i;
        tail++; /* [L2] */
        i++
     fi
  od
}

proctype Consumer() {
  byte h, t, n, k, copy[LIMIT];
  bool won;
  byte turns = 0;
  do
  :: turns == PUSHES -> break
  :: else ->
     turns++;
     h = head;
     t = tail; /* [L3] */
     if
     :: t <= h /* empty, or a stale head */
     :: else ->
        n = (t - h < LIMIT -> t - h : LIMIT);
#ifdef CLAIM_BEFORE_COPY
        atomic { won = head == h; if :: won -> head = h + n :: else fi }
#endif
        k = 0;
        do
        :: k == n -> break
        :: else -> copy[k] = cell[(h + k) % CELLS]; k++
        od;
#ifdef BLIND_CLAIM
        head = h + n; won = true;
#elif !defined(CLAIM_BEFORE_COPY)
        atomic { won = head == h; if :: won -> head = h + n :: else fi } /* [L4] */
#endif
        if
        :: won ->
           k = 0;
           do
           :: k == n -> break
           :: else ->
              atomic {
                assert(copy[k] == h + k);       /* what lay there when it was put there */
                assert(!claimed[h + k]);        /* once */
                claimed[h + k] = true;
                claims++
              }
              k++
           od
        :: else
        fi
     fi
  od
}

/* At rest nothing is lost: claimed, or still between head and tail. */
active proctype Judge() {
end:
  timeout -> assert(claims == head && tail >= head && (refused > 0 || tail == PUSHES))
}

init {
  atomic { run Producer(); run Consumer(); run Consumer() }
}
