// litmus.cpp -- the checker itself: it shows what C++ allows, and no more.
#include "prove.hpp"

namespace {

using namespace tailrace::model;

constexpr Order kRelaxed = std::memory_order_relaxed, kAcquire = std::memory_order_acquire,
                kRelease = std::memory_order_release, kAcqRel = std::memory_order_acq_rel,
                kSeqCst = std::memory_order_seq_cst;

template <Order kStore, Order kLoad>
struct StoreBuffering {
  static constexpr int kThreads = 2;
  Atomic<int> x{0}, y{0};
  int seen[3] = {};
  void thread(int i) {
    auto& mine = i == 1 ? x : y;
    auto& other = i == 1 ? y : x;
    mine.store(1, kStore);
    seen[i] = other.load(kLoad);
  }
  void finally() { check(seen[1] + seen[2] > 0, "both read 0"); }
};

// As above, but one side is free of fences and the other pays for both, or thinks that it does.
enum class Barrier : std::uint8_t { kAfter, kBefore, kNone };
template <Barrier kBarrier>
struct AsymmetricStoreBuffering {
  static constexpr int kThreads = 2;
  Atomic<int> x{0}, y{0};
  int seen[3] = {};
  void thread(int i) {
    if (i == 1) {
      x.store(1, kRelease);
      ModelAtomics::keep_order();
      seen[1] = y.load(kRelaxed);
      return;
    }
    if (kBarrier == Barrier::kBefore) ModelAtomics::membarrier();
    y.store(1, kRelaxed);
    if (kBarrier == Barrier::kAfter) ModelAtomics::membarrier();
    seen[2] = x.load(kRelaxed);
  }
  void finally() { check(seen[1] + seen[2] > 0, "both read 0"); }
};

// A third thread's membarrier orders each of the two with itself, not with each other.
struct BarrierOfAThird {
  static constexpr int kThreads = 3;
  Atomic<int> x{0}, y{0};
  int seen[3] = {};
  void thread(int i) {
    if (i == 3) return static_cast<void>(ModelAtomics::membarrier());
    (i == 1 ? x : y).store(1, kRelease);
    seen[i] = (i == 1 ? y : x).load(kRelaxed);
  }
  void finally() { check(seen[1] + seen[2] > 0, "both read 0"); }
};

template <Order kStore, Order kLoad>
struct MessagePassing {
  static constexpr int kThreads = 2;
  Atomic<int> flag{0};
  Var<int> message{0};
  void thread(int i) {
    if (i == 1) {
      message = 42;
      flag.store(1, kStore);
    } else if (flag.load(kLoad) == 1) {
      check(message == 42, "the message is old");
    }
  }
  void finally() {}
};

template <Order kLoad>
struct IndependentReads {
  static constexpr int kThreads = 4;
  Atomic<int> x{0}, y{0};
  int first[5] = {}, second[5] = {};
  void thread(int i) {
    if (i == 1) return x.store(1, kSeqCst);
    if (i == 2) return y.store(1, kSeqCst);
    first[i] = (i == 3 ? x : y).load(kLoad);
    second[i] = (i == 3 ? y : x).load(kLoad);
  }
  void finally() {
    check(!(first[3] == 1 && second[3] == 0 && first[4] == 1 && second[4] == 0), "two orders of two stores");
  }
};

template <Order kModify>
struct ReleaseSequence {
  static constexpr int kThreads = 3;
  Atomic<int> flag{0};
  Var<int> message{0};
  void thread(int i) {
    if (i == 1) {
      message = 42;
      flag.store(1, kRelease);
    } else if (i == 2) {
      if constexpr (kModify == kRelease) {
        int seen = 1;
        flag.compare_exchange_strong(seen, 2, kRelaxed, kRelaxed);
      } else if (flag.load(kRelaxed) == 1) {
        flag.store(2, kRelaxed);
      }
    } else if (flag.load(kAcquire) == 2) {
      check(message == 42, "the message is old");
    }
  }
  void finally() {}
};

struct Coherence {
  static constexpr int kThreads = 2;
  Atomic<int> x{0};
  void thread(int i) {
    if (i == 1) {
      x.store(1, kRelaxed);
      x.store(2, kRelaxed);
    } else {
      const int first = x.load(kRelaxed), second = x.load(kRelaxed);
      check(second >= first, "a thread went back in one location's history");
    }
  }
  void finally() { check(x.peek() == 2, "the last store is not the last"); }
};

template <bool kAtomic>
struct Sum {
  static constexpr int kThreads = 2;
  Atomic<int> x{0};
  void thread(int) {
    if constexpr (kAtomic) {
      x.fetch_add(1, kRelaxed);
    } else {
      x.store(x.load(kRelaxed) + 1, kRelaxed);
    }
  }
  void finally() { check(x.peek() == 2, "an addition was lost"); }
};

template <bool kWakes>
struct Sleeper {
  static constexpr int kThreads = 2;
  Atomic<std::uint32_t> word{0};
  void thread(int i) {
    if (i == 1) {
      while (word.load(kAcquire) == 0) ModelAtomics::park(word, 0, -1);
    } else {
      word.store(1, kRelease);
      if (kWakes) ModelAtomics::unpark(word, 1);
    }
  }
  void finally() {}
};

struct Spinner {
  static constexpr int kThreads = 2;
  Atomic<int> flag{0};
  void thread(int i) {
    if (i == 1) return flag.store(1, kRelaxed);
    while (flag.load(kRelaxed) == 0) ModelAtomics::pause();
  }
  void finally() {}
};

TEST(the_checker_shows_store_buffering_unless_both_sides_are_seq_cst) {
  prove<StoreBuffering<kSeqCst, kSeqCst>>("store buffering, seq_cst", {});
  catches<StoreBuffering<kRelease, kSeqCst>>("release stores", {});
  catches<StoreBuffering<kSeqCst, kAcquire>>("acquire loads", {});
}

TEST(the_checker_knows_what_a_membarrier_orders_and_what_it_does_not) {
  prove<AsymmetricStoreBuffering<Barrier::kAfter>>("store buffering, one side pays", {});
  catches<AsymmetricStoreBuffering<Barrier::kNone>>("no membarrier", {});
  catches<AsymmetricStoreBuffering<Barrier::kBefore>>("membarrier before the store", {});
  catches<BarrierOfAThird>("the membarrier of a third thread", {});
}

TEST(the_checker_shows_a_lost_message_unless_release_meets_acquire) {
  prove<MessagePassing<kRelease, kAcquire>>("message passing", {});
  catches<MessagePassing<kRelaxed, kAcquire>>("relaxed store", {});
  catches<MessagePassing<kRelease, kRelaxed>>("relaxed load", {});
}

TEST(the_checker_keeps_one_order_of_seq_cst_accesses_and_only_of_those) {
  prove<IndependentReads<kSeqCst>>("independent reads", {});
  catches<IndependentReads<kAcquire>>("acquire loads", {});
}

TEST(the_checker_continues_a_release_sequence_through_exchanges_only) {
  prove<ReleaseSequence<kRelease>>("release sequence", {});
  catches<ReleaseSequence<kRelaxed>>("a store in between", {});
}

TEST(the_checker_keeps_each_locations_history_in_order) { prove<Coherence>("coherence", {}); }

TEST(the_checker_finds_a_lost_addition) {
  prove<Sum<true>>("fetch_add", {});
  catches<Sum<false>>("load and store", {});
}

TEST(the_checker_finds_a_sleeper_that_nobody_wakes) {
  prove<Sleeper<true>>("sleeper", {});
  catches<Sleeper<false>>("no wake", {});
}

TEST(the_checker_lets_a_spinning_thread_see_the_end_of_its_wait) { prove<Spinner>("spinner", {}); }

TEST(a_failing_schedule_replays_to_the_same_failure) {
  const Result first = explore<Sum<false>>({});
  Bounds again;
  again.replay = first.choices;
  const Result second = explore<Sum<false>>(again);
  CHECK(second.failed);
  CHECK_EQ(first.reason, second.reason);
  CHECK_EQ(second.executions, 1u);
  static_cast<void>(kAcqRel);
}

}  // namespace
