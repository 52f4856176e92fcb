// timers.cpp -- fire against cancel and arming again; and no armed timer without somebody who wakes for it.
//
// The owner is Watch::loop; a timed sleep that runs to its end moves the clock to where it was to end.
#include "tailrace/sched/timers.hpp"

#include <array>
#include <memory>

#include "prove.hpp"

namespace {

using namespace tailrace::model;
using tailrace::base::kNever;
using Timers = tailrace::sched::BasicTimers<ModelAtomics>;

struct Note final : tailrace::sched::BasicTimer<ModelAtomics> {
  void fire() override {
    check(deadline_ns <= *now, "a timer fired before its deadline");
    needed = needed + 1;
    ++fired;
  }
  const std::int64_t* now = nullptr;
  Var<int> needed{0};  // what must not be gone when it fires
  int fired = 0;
  std::int64_t promised = kNever;  // armed for this, and who arms has done all that it had to do
};

struct Clocked {
  Timers timers;
  std::array<Note, 2> notes;
  std::int64_t now = 0;
  int arming = 0;
  Atomic<std::uint32_t> word{0};
  Clocked() {
    for (Note& note : notes) note.now = &now;
  }

  void advance(std::int64_t to) {
    now = to;
    timers.fire_due(now);
  }
  void arm(Note& note, std::int64_t deadline_ns) {
    ++arming;
    if (timers.arm(note, deadline_ns)) {
      word.fetch_add(1, std::memory_order_release);
      ModelAtomics::unpark(word, 1);
    }
    --arming;
    note.promised = deadline_ns;
  }
  bool cancel(Note& note) {
    if (!timers.cancel(note)) return false;
    note.promised = kNever;
    return true;
  }
  void watch() {
    for (;;) {
      const std::uint32_t seen = word.load(std::memory_order_acquire);
      timers.fire_due(now);
      const std::int64_t until = timers.sleep_until_ns();
      ModelAtomics::park(word, seen, until == kNever ? -1 : 1);
      if (word.peek() != seen || until == kNever) continue;
      now = until;
      for (const Note& note : notes) {
        check(arming > 0 || note.fired > 0 || note.promised >= until, "the owner slept past a deadline");
      }
    }
  }
  bool may_sleep() const {
    for (const Note& note : notes) {
      if (note.promised != kNever && note.fired == 0) return false;
    }
    return true;
  }
  void finally() {}
};

// The owner finds it due while another thread cancels it, and then does away with what it needs.
struct OneWins : Clocked {
  static constexpr int kThreads = 2;
  int cancelled = 0;
  OneWins() { timers.arm(notes[0], 5); }
  void thread(int i) {
    if (i == 1) return advance(10);
    if (!timers.cancel(notes[0])) return;
    ++cancelled;
    notes[0].needed = 7;
  }
  void finally() { check(notes[0].fired + cancelled == 1, "both fired and cancelled, or neither"); }
};

// Cancelled and armed again, for `kAgain`, while the owner comes by where it lay.
template <std::int64_t kAgain>
struct ArmedAgain : Clocked {
  static constexpr int kThreads = 2;
  int armings = 1;
  ArmedAgain() {
    timers.arm(notes[0], 5);
    timers.fire_due(0);  // it lies in the wheel
  }
  void thread(int i) {
    if (i == 1) {
      advance(10);
      return advance(30);
    }
    for (int k = 0; k < 2; ++k) {
      if (!timers.cancel(notes[0])) return;
      --armings;
      if (k == 0) {
        timers.arm(notes[0], kAgain);
        ++armings;
      }
    }
  }
  void finally() { check(notes[0].fired == armings, "an arming was lost, or fired after it was cancelled"); }
};

// Cancelled, and gone, while the owner comes by: the entry is deleted once, by whoever is last.
struct Dies : Clocked {
  static constexpr int kThreads = 2;
  std::unique_ptr<Note> brief = std::make_unique<Note>();
  Dies() {
    brief->now = &now;
    timers.arm(*brief, 5);
  }
  void thread(int i) {
    if (i == 1) return advance(10);
    if (timers.cancel(*brief)) brief.reset();
  }
};

// Two threads arm, the owner watches.
struct TwoArm : Clocked {
  static constexpr int kThreads = 3;
  void thread(int i) {
    if (i == 1) return watch();
    arm(notes[static_cast<std::size_t>(i - 2)], i == 2 ? 10 : 5);
  }
};

// It was to fire at 10 and lies at 5, where the owner moves it on; then it is to fire at 7.
struct MovedOn : Clocked {
  static constexpr int kThreads = 2;
  MovedOn() {
    timers.arm(notes[0], 5);
    timers.fire_due(0);
    timers.cancel(notes[0]);
    arm(notes[0], 10);
  }
  void thread(int i) {
    if (i == 1) {
      now = 6;
      return watch();
    }
    if (cancel(notes[0])) arm(notes[0], 7);
  }
};

TEST(a_timer_fires_or_is_cancelled_and_never_both) {
  prove<OneWins>("fire against cancel", {.preemptions = 4, .stale_loads = 2});
  prove<Dies>("a timer that dies after its cancel", {.preemptions = 4, .stale_loads = 2});
}

TEST(a_timer_that_is_armed_again_fires_for_the_last_arming_only) {
  prove<ArmedAgain<20>>("armed again for later", {.preemptions = 4, .stale_loads = 2});
  prove<ArmedAgain<8>>("armed again for a little later", {.preemptions = 4, .stale_loads = 2});
  prove<ArmedAgain<3>>("armed again for earlier", {.preemptions = 4, .stale_loads = 2});
}

TEST(nobody_sleeps_past_the_deadline_of_an_armed_timer) {
  prove<TwoArm>("two threads arm", {.preemptions = 3, .stale_loads = 1});
  prove<TwoArm>("two threads arm", {.random = 50'000});
  prove<MovedOn>("moved on while it is armed again", {.preemptions = 4, .stale_loads = 2});
}

TEST(the_check_of_the_timers_catches_its_mutants) {
  const Bounds small{.preemptions = 3, .stale_loads = 2};
  auto weakened = [&](const char* text, Order order) {
    Bounds bounds = small;
    bounds.mutants = {{text, order}};
    return bounds;
  };
  auto blind = [&](const char* text, std::uint64_t reads) {
    Bounds bounds = small;
    bounds.mutants = {{text, std::memory_order_seq_cst, reads}};
    return bounds;
  };
  constexpr Order relaxed = std::memory_order_relaxed, acquire = std::memory_order_acquire,
                  release = std::memory_order_release;
  catches<TwoArm>("no second look at the inbox", blind("if (inbox_.load(base::seq_cst) == nullptr) return until", 0));
  catches<TwoArm>("the second look acquires", weakened("inbox_.load(base::seq_cst) == nullptr", acquire));
  catches<TwoArm>("the sleep is shown by a release", weakened("sleeps_until_ns_.store(until, base::seq_cst)", release));
  catches<TwoArm>("the armer looks at the sleeper by an acquire",
                  weakened("sleeps_until_ns_.load(base::seq_cst)", acquire));
  catches<TwoArm>("the entry is published by a release", weakened("inbox_.compare_exchange_weak(seen, entry", release));
  catches<TwoArm>("the entry is published relaxed", weakened("inbox_.compare_exchange_weak(seen, entry", relaxed));
  catches<TwoArm>("the inbox is taken relaxed", weakened("inbox_.exchange(nullptr, base::acquire)", relaxed));
  catches<MovedOn>("moving on releases nothing", weakened("entry.word.compare_exchange_weak(seen, wanted", relaxed));
  catches<MovedOn>("the armer does not acquire the place", weakened("seen = entry.word.load(base::acquire);", relaxed));
  catches<ArmedAgain<20>>("arming in place releases nothing", weakened("compare_exchange_strong(seen, armed", relaxed));
  catches<ArmedAgain<20>>("all armings have one number", blind("armed_.fetch_add(1", 0));
}

}  // namespace
