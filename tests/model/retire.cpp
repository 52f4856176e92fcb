// retire.cpp -- a worker that is one too many retires: no work is left behind while another worker sleeps.
//
// The workers are Worker::loop with retire and wait_for_work, the spinning cut to one look; the resizer is
// Scheduler::resize from two workers to one. The crew's mutex is an exchange on the number of active workers here: only
// its outcome matters, that one worker and no more retires.
#include <array>

#include "prove.hpp"
#include "tailrace/sched/idle.hpp"

namespace {

using namespace tailrace::model;
using tailrace::sched::BasicIdle;

enum class Bug : std::uint8_t { kNone, kNoLook, kLooksFirst, kStaysSearching, kSleepsThrough, kWakesFirst };

template <Bug kBug, int kItems = 2>
struct Shrinks {
  static constexpr int kThreads = kItems > 0 ? 4 : 3;
  BasicIdle<ModelAtomics> idle{2};
  Atomic<int> ready{0};
  Atomic<int> surplus{0};  // active workers less the number wanted
  int retired = 0;

  bool sees() const { return ready.load(std::memory_order_seq_cst) > 0; }
  bool take() {
    int seen = ready.load(std::memory_order_relaxed);
    while (seen > 0) {
      if (ready.compare_exchange_weak(seen, seen - 1, std::memory_order_acquire, std::memory_order_relaxed))
        return true;
    }
    return false;
  }
  bool is_over(int id) const { return surplus.load(std::memory_order_seq_cst) > 0 && id == 1; }

  bool retire(bool& searching) {
    int one = 1;
    if (kBug == Bug::kLooksFirst && sees()) idle.notify();
    if (!surplus.compare_exchange_strong(one, 0, std::memory_order_seq_cst, std::memory_order_relaxed)) return false;
    if (kBug != Bug::kStaysSearching && searching) idle.end_search();
    searching = false;
    if (kBug != Bug::kNoLook && kBug != Bug::kLooksFirst && sees()) idle.notify();
    ++retired;
    return true;
  }

  void work(int id) {
    for (bool searching = false;;) {
      const bool ran = take();
      if (ran && searching) {
        searching = false;
        if (idle.end_search() && sees()) idle.notify();
      }
      if (is_over(id) && retire(searching)) return;
      if (ran) continue;
      if (!searching) searching = idle.begin_search(2);
      if (searching) {
        if (sees()) continue;
        searching = false;
        idle.end_search();
      }
      idle.prepare_park(id);
      if (sees() || (kBug != Bug::kSleepsThrough && is_over(id))) {
        idle.cancel_park(id);
        searching = true;
        continue;
      }
      searching = idle.park(id, -1);
    }
  }
  void thread(int i) {
    if (i < 3) return work(i - 1);
    if (i == 4) {
      for (int k = 0; k < kItems; ++k) {
        ready.fetch_add(1, std::memory_order_seq_cst);
        idle.notify();
      }
      return;
    }
    if (kBug == Bug::kWakesFirst) idle.notify_one(1);
    surplus.store(1, std::memory_order_seq_cst);
    if (kBug != Bug::kWakesFirst) idle.notify_one(1);
  }
  bool may_sleep() const { return ready.peek() == 0 && retired == 1; }
  void finally() { check(retired == 1, "not one worker has retired"); }
};

// An item for the one worker that a resize makes a spare: Scheduler::push_to against Worker::retire. The crew's mutex is a
// read-modify-write on the state of the slot.
enum class Miss : std::uint8_t { kNone, kNoLook, kNoRecall, kStaleResize };

template <Miss kMiss>
struct Recalls {
  static constexpr int kThreads = 3;
  static constexpr Order kLook = kMiss == Miss::kStaleResize ? std::memory_order_acquire : std::memory_order_seq_cst;
  Atomic<int> inbox{0};
  Atomic<int> wanted{2};
  Atomic<std::uint32_t> spare{0};
  int ran = 0;

  void recall() {
    if (spare.exchange(0, std::memory_order_acq_rel) == 1) ModelAtomics::unpark(spare, 1);
  }
  void work() {
    for (;;) {
      if (inbox.load(std::memory_order_relaxed) > 0) {
        inbox.fetch_sub(1, std::memory_order_acq_rel);
        ++ran;
        continue;
      }
      if (wanted.load(std::memory_order_seq_cst) == 2) {
        ModelAtomics::pause();
        continue;
      }
      spare.exchange(1, std::memory_order_acq_rel);
      if (kMiss != Miss::kNoLook && inbox.load(std::memory_order_seq_cst) > 0) recall();
      while (spare.load(std::memory_order_acquire) == 1) ModelAtomics::park(spare, 1, -1);
    }
  }
  void thread(int i) {
    if (i == 1) return work();
    if (i == 2) return wanted.store(1, std::memory_order_seq_cst);
    inbox.fetch_add(1, std::memory_order_seq_cst);
    if (kMiss != Miss::kNoRecall && wanted.load(kLook) < 2) recall();
  }
  bool may_sleep() const { return ran == 1; }
  void finally() {}
};

TEST(an_item_for_a_worker_that_retires_is_run_by_it_all_the_same) {
  prove<Recalls<Miss::kNone>>("a worker, a resize, a push to it", {.preemptions = 4, .stale_loads = 2});
  const Bounds small{.preemptions = 3, .stale_loads = 2};
  catches<Recalls<Miss::kNoLook>>("the worker retires without a look at its inbox", small);
  catches<Recalls<Miss::kNoRecall>>("the pusher does not look for a resize", small);
  catches<Recalls<Miss::kStaleResize>>("the pusher looks for a resize with acquire", small);
}

TEST(a_worker_that_retires_leaves_no_work_behind_and_is_never_slept_through) {
  prove<Shrinks<Bug::kNone, 0>>("two workers, a resize to one", {.preemptions = 2, .stale_loads = 1});
  prove<Shrinks<Bug::kNone>>("two workers, a producer, a resize to one", {.preemptions = 2, .stale_loads = 0});
  prove<Shrinks<Bug::kNone>>("two workers, a producer, a resize to one", {.random = 100'000});
}

TEST(the_check_of_retiring_catches_its_mutants) {
  const Bounds small{.preemptions = 3, .stale_loads = 1};
  catches<Shrinks<Bug::kNoLook>>("retires without a last look: misses an item pushed just before", small);
  catches<Shrinks<Bug::kLooksFirst>>("looks before it leaves the searchers", small);
  catches<Shrinks<Bug::kStaysSearching>>("retires while it counts as searching", small);
  catches<Shrinks<Bug::kSleepsThrough, 0>>("parks without a look whether it is one too many",
                                           {.preemptions = 2, .stale_loads = 0});
  catches<Shrinks<Bug::kWakesFirst, 0>>("wakes the sleepers before it says that they are too many", small);
}

}  // namespace
