// join_word.hpp -- how who forked a child learns that a thief is done with it, and sleeps meanwhile.
//
// What      `BasicNap`, a thread's own sleeping word; `BasicJoinWord`, one stolen child; `BasicGroupCount`, many.
// Why       A child that was not stolen needs none of this: no flag is set and no counter is touched for it.
// Threads   JoinWord: `finish` once by the thief, the rest by who forked. GroupCount: `home` says who calls.
//           Nap: prepare and sleep by its owner, wake by any thread, at any time: a wake too many is harmless.
// Checked   tests/model/join_word.cpp (with mutants), tests/stress/fork_join.cpp.
#pragma once

#include <cstdint>

#include "tailrace/base/atomic.hpp"

namespace tailrace::sched {

// Sleeping: prepare(); look once more at all that one waits for; sleep(). Waking: make it so; wake().
template <class Atomics = base::StdAtomics>
class BasicNap {
 public:
  // [F1] acquire: if a waker was faster than this exchange, the look that follows sees what it did.
  void prepare() noexcept { word_.exchange(kAsleep, base::acquire); }
  void sleep() {
    if (word_.load(base::relaxed) == kAsleep) Atomics::park(word_, kAsleep, -1);  // relaxed: park compares again
  }
  void wake() noexcept {
    // [F1] release: what was done before the wake. An exchange, as a second wake's plain store would hide the first's.
    word_.exchange(kAwake, base::release);
    Atomics::unpark(word_, 1);
  }

 private:
  static constexpr std::uint32_t kAwake = 0;
  static constexpr std::uint32_t kAsleep = 1;
  typename Atomics::template atomic<std::uint32_t> word_{kAwake};
};

enum class Joined : std::uint32_t {
  kPending = 0,   // not yet
  kSleeping = 1,  // not yet, and who forked it sleeps
  kReturned = 2,  // the thief has given it back: who forked it runs it
  kDone = 3,
  kFailed = 4,
};

template <class Atomics = base::StdAtomics>
class BasicJoinWord {
 public:
  // [F2] acquire: all that the thief did.
  Joined state() const noexcept { return static_cast<Joined>(word_.load(base::acquire)); }
  bool ended() const noexcept { return state() >= Joined::kReturned; }

  // By who forked, after Nap::prepare: says that it will sleep. False: the child has ended.
  bool show_sleep() noexcept {
    auto seen = static_cast<std::uint32_t>(Joined::kPending);
    // relaxed: that the wake does not come before the prepare follows from the nap's word: it would have been acquired
    // there, and with it the end, which this exchange could then not precede.
    if (word_.compare_exchange_strong(seen, static_cast<std::uint32_t>(Joined::kSleeping), base::relaxed,
                                      base::relaxed))
      return true;
    return seen == static_cast<std::uint32_t>(Joined::kSleeping);  // shown already, before a wake too many
  }

  // By the thief, who must not touch the child after it. True: wake who forked it.
  bool finish(Joined how) noexcept {
    // [F2] release: all that we did.
    const auto before = word_.exchange(static_cast<std::uint32_t>(how), base::release);
    return before == static_cast<std::uint32_t>(Joined::kSleeping);
  }

  // The thief's place, so that who waits can steal back from it; 0: not known yet.
  // [F3] release, acquire: who reads the number may use the place.
  void set_thief(std::uint32_t place) noexcept { thief_.store(place, base::release); }
  std::uint32_t thief() const noexcept { return thief_.load(base::acquire); }  // [F3] as above

 private:
  typename Atomics::template atomic<std::uint32_t> word_{0};
  typename Atomics::template atomic<std::uint32_t> thief_{0};
};

// Children in a plain count as long as the home place forks and runs them; others count in an atomic word.
template <class Atomics = base::StdAtomics>
class BasicGroupCount {
 public:
  void add(bool home) noexcept {
    if (home) {
      ++mine_;
    } else {
      word_.fetch_add(kOne, base::relaxed);  // relaxed: by somebody who is counted still, or before the wait began
    }
  }

  // A child has ended. True: the home sleeps and this was the last; wake it. A caller that is not the home must not
  // touch the group after it.
  bool done(bool home) noexcept {
    if (home) {
      --mine_;
      return false;
    }
    return word_.fetch_sub(kOne, base::release) == kOne + kAsleep;  // [F4] release: what the child did
  }

  // The rest: by the home.
  // [F4] acquire: what the children did; each changes the word by a read-modify-write, so none hides another.
  bool finished() const noexcept { return mine_ * kOne + word_.load(base::acquire) == 0; }

  // After Nap::prepare: counts in the word alone, so that the last child knows itself. False: nothing is left.
  // Either way `awake` follows.
  bool show_sleep() noexcept {
    const std::int64_t mine = mine_ * kOne;
    mine_ = 0;
    return word_.fetch_add(mine + kAsleep, base::relaxed) + mine != 0;  // relaxed: as JoinWord::show_sleep
  }
  void awake() noexcept { word_.fetch_sub(kAsleep, base::relaxed); }  // relaxed: only the home reads the bit alone

 private:
  static constexpr std::int64_t kAsleep = 1;
  static constexpr std::int64_t kOne = 2;  // a child
  std::int64_t mine_ = 0;                  // below zero if others fork more than the home and the home runs them
  typename Atomics::template atomic<std::int64_t> word_{0};
};

using Nap = BasicNap<>;
using JoinWord = BasicJoinWord<>;
using GroupCount = BasicGroupCount<>;

}  // namespace tailrace::sched
