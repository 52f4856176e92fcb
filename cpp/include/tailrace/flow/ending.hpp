// ending.hpp -- how a run ends: one word, fixed once, announced once, slept on.
//
// What      `Ending`: the outcome (three bits), whether it is announced, whether somebody may be asleep.
// Why       Everything that a run's end decides is decided by changes of one word, so no two of them can disagree.
// Threads   Any holder of a reference to the run. rearm: only between runs.
// Checked   tests/model/run.cpp (with mutants), tests/cpp/flow/test_run.cpp.
#pragma once

#include <cstdint>

#include "tailrace/base/atomic.hpp"
#include "tailrace/base/outcome.hpp"

namespace tailrace::flow {

template <class Atomics = base::StdAtomics>
class Ending {
 public:
  // Only between runs, when nobody else holds the run.
  void rearm() noexcept { word_.store(0, base::relaxed); }  // relaxed: not shared now

  base::Outcome outcome() const noexcept {
    return static_cast<base::Outcome>(word_.load(base::acquire) & kOutcome);  // [O1] acquire: pairs with [O2]
  }

  bool is_open() const noexcept {
    // relaxed: a participant that misses an ending made just now runs one step more, which is allowed
    return (word_.load(base::relaxed) & kOutcome) == 0;
  }

  // Fixes the outcome; true for the one caller that did. It then stores what belongs to it and calls `announce`.
  bool fix(base::Outcome outcome) noexcept {
    std::uint32_t seen = word_.load(base::relaxed);  // relaxed: a guess; the exchange re-reads it
    do {
      if ((seen & kOutcome) != 0) return false;
      // [O2] acq_rel: what the run has produced is seen by who sees its outcome ([O1]). Failure: somebody else did it,
      // or somebody has gone to sleep; relaxed.
    } while (
        !word_.compare_exchange_weak(seen, seen | static_cast<std::uint32_t>(outcome), base::acq_rel, base::relaxed));
    return true;
  }

  // Wakes the waiters. After this the caller must hold a reference to touch the run again.
  void announce() noexcept {
    // [O3] acq_rel: releases the result to [O4]; whether somebody sleeps is decided by this change.
    if ((word_.fetch_or(kAnnounced, base::acq_rel) & kSlept) != 0) Atomics::unpark(word_, INT32_MAX);
  }

  bool announced() const noexcept {
    return (word_.load(base::acquire) & kAnnounced) != 0;  // [O4] acquire: pairs with [O3]
  }

  // Sleeps until announced, nudged, or for at most `timeout_ns` (< 0: for ever); true if announced. May return early.
  bool wait_once(std::int64_t timeout_ns) {
    std::uint32_t seen = word_.load(base::acquire);  // [O4] acquire: pairs with [O3]
    // [O4] acquire: as above, in case it was announced in between.
    if ((seen & (kAnnounced | kSlept)) == 0) seen = word_.fetch_or(kSlept, base::acquire) | kSlept;
    if ((seen & kAnnounced) == 0) Atomics::park(word_, seen, timeout_ns);
    return announced();
  }

  // Lets the waiters look whether there is work for them; true when somebody was asleep.
  bool nudge() noexcept {
    if ((word_.load(base::relaxed) & kSlept) == 0)
      return false;  // relaxed: a hint; they are woken at the end in any case
    // relaxed: who takes the mark makes the wake, and a read-modify-write keeps what [O2] has released.
    if ((word_.fetch_and(~kSlept, base::relaxed) & kSlept) == 0) return false;
    Atomics::unpark(word_, INT32_MAX);
    return true;
  }

 private:
  static constexpr std::uint32_t kOutcome = 7;
  static constexpr std::uint32_t kSlept = 8;  // somebody may be asleep
  static constexpr std::uint32_t kAnnounced = 16;

  typename Atomics::template atomic<std::uint32_t> word_{0};
};

}  // namespace tailrace::flow
