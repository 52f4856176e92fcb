// owner_lock.cpp -- a cache's owner and its visitors: one at a time inside, each sees what the last did, nothing goes untold.
#include "tailrace/pool/owner_lock.hpp"

#include <type_traits>

#include "prove.hpp"

namespace {

using namespace tailrace::model;
using Lock = tailrace::pool::OwnerLock<ModelAtomics>;

constexpr int kPatient = 1000;

// As the shipped one, but its membarrier orders nothing.
struct NoBarrier : ModelAtomics {
  static bool membarrier() { return true; }
};
// Its membarrier is forbidden since the pool was made.
struct Forbidden : ModelAtomics {
  static bool membarrier() { return false; }
};
using WithoutVisits = tailrace::pool::OwnerLock<Forbidden>;

// The owner goes in twice, each time by the quick way if it is open; visitors once each.
template <class OwnersLock, bool kAsymmetric, int kVisitors, int kPatience = kPatient>
struct Visited {
  static constexpr int kThreads = 1 + kVisitors;
  OwnersLock lock{kAsymmetric};
  Var<int> content{0};
  int inside = 0, owners = 0, visits = 0;

  Visited() {
    if (lock.may_open_quick_way()) lock.open_quick_way();
  }
  void use() {
    check(++inside == 1, "two are inside");
    content = content + 1;
    --inside;
  }
  void thread(int i) {
    if (i == 1) {
      for (; owners < 2; ++owners) {
        if (!lock.try_enter()) lock.enter();
        use();
        lock.leave();
      }
    } else if (lock.visit(kPatience)) {
      use();
      ++visits;
      lock.end_visit();
    }
  }
  void finally() {
    check(content == owners + visits, "what one did was lost");
    check(lock.visit(1) || std::is_same_v<OwnersLock, WithoutVisits>, "the lock stays closed");
  }
};

// One frees, and tells who waits for it if it has been asked to. One asks, looks whether anything was freed before, and sleeps.
enum class Bug : std::uint8_t { kNone, kNoVisit };
template <bool kAsymmetric, Bug kBug = Bug::kNone>
struct Told {
  static constexpr int kThreads = 2;
  Lock lock{kAsymmetric};
  Atomic<bool> watched{false};
  Atomic<std::uint32_t> word{0};
  Var<int> freed{0};

  Told() {
    if (lock.may_open_quick_way()) lock.open_quick_way();
  }
  void free() {
    if (lock.try_enter()) {
      freed = 1;
      return lock.leave();
    }
    lock.enter();
    freed = 1;
    lock.leave();
    if (!watched.load(std::memory_order_relaxed)) return;
    word.fetch_add(1, std::memory_order_release);
    ModelAtomics::unpark(word, 1);
  }
  bool look() {
    while (!lock.visit(kPatient)) {
    }
    const bool found = freed != 0;
    lock.end_visit();
    return found;
  }
  void thread(int i) {
    if (i == 1) return free();
    watched.store(true, std::memory_order_relaxed);
    if (kBug == Bug::kNone) {
      while (!lock.visit(kPatient)) {
      }
      lock.close_quick_way();
      lock.end_visit();
    }
    for (;;) {
      const std::uint32_t seen = word.load(std::memory_order_acquire);
      if (look()) return;
      ModelAtomics::park(word, seen, -1);
    }
  }
  void finally() {}
};

TEST(an_owner_and_a_visitor_are_never_inside_together_and_see_what_the_other_did) {
  prove<Visited<Lock, true, 1>>("an owner, a visitor, a membarrier", {.preemptions = 4, .stale_loads = 2});
  prove<Visited<Lock, false, 1>>("the same, the owner pays", {.preemptions = 4, .stale_loads = 2});
  prove<Visited<Lock, true, 2>>("two visitors", {.preemptions = 2, .stale_loads = 1});
  prove<Visited<Lock, false, 2>>("two visitors, the owner pays", {.preemptions = 2, .stale_loads = 1});
  prove<Visited<Lock, true, 2>>("two visitors", {.random = 50'000});
  prove<Visited<Lock, true, 2, 1>>("two visitors without patience", {.preemptions = 2, .stale_loads = 1});
  prove<Visited<WithoutVisits, true, 1>>("a membarrier that is forbidden by now", {.preemptions = 4, .stale_loads = 2});
}

TEST(a_free_that_comes_after_somebody_began_to_wait_is_told_and_one_before_it_is_seen) {
  prove<Told<true>>("a free, a waiter, a membarrier", {.preemptions = 4, .stale_loads = 2});
  prove<Told<false>>("the same, the owner pays", {.preemptions = 4, .stale_loads = 2});
}

TEST(the_check_of_the_owner_lock_catches_its_mutants) {
  const Bounds small{.preemptions = 3, .stale_loads = 2};
  auto weakened = [&](const char* text, Order order, std::optional<std::uint64_t> reads = {}) {
    Bounds bounds = small;
    bounds.mutants = {{text, order, reads}};
    return bounds;
  };
  catches<Visited<tailrace::pool::OwnerLock<NoBarrier>, true, 1>>("no membarrier", small);
  catches<Visited<Lock, true, 1>>("the owner's look acquires nothing",
                                  weakened("closed_.load(base::seq_cst) == 0", std::memory_order_relaxed));
  catches<Visited<Lock, true, 1>>("the owner releases nothing",
                                  weakened("inside_.store(0, base::release)", std::memory_order_relaxed));
  catches<Visited<Lock, true, 1>>("the visitor's look acquires nothing",
                                  weakened("inside_.load(base::seq_cst) == 0", std::memory_order_relaxed));
  catches<Visited<Lock, true, 1>>("the visitor does not look",
                                  weakened("inside_.load(base::seq_cst)", std::memory_order_seq_cst, 0));
  catches<Visited<Lock, true, 1>>("the visitor releases nothing",
                                  weakened("closed_.fetch_and(~kVisited", std::memory_order_relaxed));
  catches<Visited<Lock, true, 2>>("a second visitor acquires nothing",
                                  weakened("closed_.fetch_or(kVisited", std::memory_order_release));
  catches<Visited<Lock, true, 2>>("a second visitor is let in",
                                  weakened("closed_.fetch_or(kVisited", std::memory_order_seq_cst, 0));
  catches<Visited<Lock, false, 1>>("the owner pays too little",
                                   weakened("inside_.exchange(1, base::seq_cst)", std::memory_order_acq_rel));
  catches<Visited<Lock, false, 1>>("a visitor pays too little",
                                   weakened("closed_.fetch_or(kVisited", std::memory_order_acq_rel));
  catches<Told<true, Bug::kNoVisit>>("who waits only says so", small);
}

}  // namespace
