// idle.cpp -- no lost wake-ups: no work is left while the workers that could do it are asleep.
//
// The worker here is Worker::loop and Worker::wait_for_work with the spinning cut to one look.
#include "tailrace/sched/idle.hpp"

#include <array>

#include "prove.hpp"
#include "tailrace/queue/inject_lane.hpp"
#include "tailrace/queue/steal_deque.hpp"

namespace {

using namespace tailrace::model;
using tailrace::sched::BasicIdle;

// The smallest queue: a count. It publishes with seq_cst, as the real ones do.
struct Count {
  Atomic<int> ready{0};
  int pushed = 0;
  void push() {
    ++pushed;
    ready.fetch_add(1, std::memory_order_seq_cst);
  }
  bool take() {
    int seen = ready.load(std::memory_order_relaxed);
    while (seen > 0) {
      if (ready.compare_exchange_weak(seen, seen - 1, std::memory_order_acquire, std::memory_order_relaxed))
        return true;
    }
    return false;
  }
  bool sees() const { return ready.load(std::memory_order_seq_cst) > 0; }
  bool left() const { return ready.peek() > 0; }
};

struct Deque {
  tailrace::queue::StealDeque<int, ModelAtomics> deque{2};
  int pushed = 0, taken = 0;
  void push() { deque.push(++pushed); }
  bool take() {
    int item = 0;
    tailrace::queue::Steal how{};
    while ((how = deque.steal(item)) == tailrace::queue::Steal::kLost) ModelAtomics::pause();
    taken += how == tailrace::queue::Steal::kTaken ? 1 : 0;
    return how == tailrace::queue::Steal::kTaken;
  }
  bool sees() const { return !deque.empty(); }
  bool left() const { return taken < pushed; }
};

struct Lane {
  tailrace::queue::InjectLane<2, ModelAtomics> lane;
  int pushed = 0, taken = 0;
  void push() {
    if (lane.try_push({})) ++pushed;
  }
  bool take() {
    tailrace::queue::Cell cell{};
    const std::size_t n = lane.claim(&cell, 1);
    taken += static_cast<int>(n);
    return n != 0;
  }
  bool sees() const { return !lane.empty(); }
  bool left() const { return taken < pushed; }
};

enum class Bug : std::uint8_t { kNone, kNoSecondLook, kNotifyFirst, kNoLookAfterSearch, kStopsSearching };

template <class Queue, Bug kBug>
struct Sleepers {
  Queue queue;
  BasicIdle<ModelAtomics> idle{2};
  int ran = 0;

  void produce() {
    if (kBug == Bug::kNotifyFirst) idle.notify();
    queue.push();
    if (kBug != Bug::kNotifyFirst) idle.notify();
  }

  // `endless`: which items (counted as they are taken) never return from their body.
  void work(int id, int endless) {
    for (bool searching = false;;) {
      if (queue.take()) {
        if (searching) {
          searching = false;
          if (idle.end_search() && kBug != Bug::kNoLookAfterSearch && queue.sees()) idle.notify();
        }
        if (++ran == endless) return;
        continue;
      }
      if (!searching) searching = idle.begin_search(2);
      if (searching) {
        if (queue.sees()) continue;
        searching = false;
        idle.end_search();
      }
      idle.prepare_park(id);
      if (kBug != Bug::kNoSecondLook && queue.sees()) {
        idle.cancel_park(id);
        searching = kBug != Bug::kStopsSearching;
        if (!searching) idle.end_search();
        continue;
      }
      searching = idle.park(id, -1);
    }
  }
  bool may_sleep() const { return !queue.left(); }
  void finally() {}
};

// A producer of two items, two workers.
template <class Queue, Bug kBug = Bug::kNone>
struct OneProducer : Sleepers<Queue, kBug> {
  static constexpr int kThreads = 3;
  void thread(int i) {
    if (i < 3) return this->work(i - 1, 0);
    this->produce();
    this->produce();
  }
};

// The first item that is taken has a body without end: the second worker must be woken for the other.
template <class Queue, Bug kBug = Bug::kNone>
struct EndlessBody : Sleepers<Queue, kBug> {
  static constexpr int kThreads = 3;
  void thread(int i) {
    if (i < 3) return this->work(i - 1, 1);
    this->produce();
    this->produce();
  }
};

// Two producers: one waker may be slow in the middle of a wake while everybody else goes on.
struct SlowWaker : Sleepers<Count, Bug::kNone> {
  static constexpr int kThreads = 4;
  void thread(int i) {
    if (i < 3) return this->work(i - 1, 2);
    this->produce();
    if (i == 4) this->produce();
  }
};

// A worker sleeps with a time limit, which may end while it is being woken.
struct TimedSleep {
  static constexpr int kThreads = 2;
  Count queue;
  BasicIdle<ModelAtomics> idle{1};
  void thread(int i) {
    if (i == 2) {
      for (int k = 0; k < 2; ++k) {
        queue.push();
        idle.notify();
      }
      return;
    }
    bool searching = false;
    for (int naps = 0; queue.pushed < 2 || queue.left() || naps < 2;) {
      if (queue.take()) {
        if (searching) idle.end_search();
        searching = false;
        continue;
      }
      if (searching) idle.end_search();
      idle.prepare_park(0);
      if (queue.sees()) {
        idle.cancel_park(0);
        searching = true;
      } else {
        searching = idle.park(0, naps++ < 2 ? 1 : -1);
      }
    }
    if (searching) idle.end_search();
  }
  bool may_sleep() const { return !queue.left(); }
  void finally() { check(idle.searching() <= 0, "a search is counted that nobody makes: it swallows wakes"); }
};

TEST(no_work_is_left_while_the_workers_sleep) {
  prove<OneProducer<Count>>("a producer, two workers", {.preemptions = 3, .stale_loads = 1});
  prove<OneProducer<Deque>>("a deque, two workers", {.preemptions = 2, .stale_loads = 1});
  prove<OneProducer<Lane>>("a lane, two workers", {.preemptions = 2, .stale_loads = 1});
  prove<OneProducer<Count>>("a producer, two workers", {.random = 50'000});
}

TEST(a_worker_in_a_body_without_end_delays_no_other_item) {
  prove<EndlessBody<Count>>("an endless body, two workers", {.preemptions = 3, .stale_loads = 1});
  prove<SlowWaker>("two producers, two workers, an endless body", {.preemptions = 3, .stale_loads = 0});
  prove<SlowWaker>("two producers, two workers, an endless body", {.random = 400'000});
}

TEST(a_sleep_with_a_time_limit_loses_no_wake) {
  prove<TimedSleep>("timed sleeps", {.preemptions = 4, .stale_loads = 1});
}

TEST(the_check_of_idle_catches_its_mutants) {
  const Bounds small{.preemptions = 3, .stale_loads = 1};
  catches<OneProducer<Count, Bug::kNoSecondLook>>("parks without a second look", small);
  catches<OneProducer<Count, Bug::kNotifyFirst>>("notifies before it pushes", small);
  catches<EndlessBody<Count, Bug::kNoLookAfterSearch>>("the last searcher does not look again", small);
  catches<EndlessBody<Count, Bug::kStopsSearching>>("work found at the last look is taken without searching on", small);
  catches<SlowWaker>("a sleep begins while an old wake is due",
                     {.mutants = {{"while (mine.word.load", std::memory_order_acquire, 0}}, .random = 2'000'000});
  auto weakened = [&](const char* text, Order order) {
    Bounds bounds = small;
    bounds.mutants = {{text, order}};
    return bounds;
  };
  catches<OneProducer<Count>>("the sleeper shows itself acq_rel",
                              weakened("fetch_or(mask(id), base::seq_cst)", std::memory_order_acq_rel));
  catches<OneProducer<Count>>("notify reads the sleepers acquire",
                              weakened(".load(base::seq_cst);", std::memory_order_acquire));
  catches<EndlessBody<Count>>("notify reads the searchers relaxed",
                              weakened("searching_.load(base::seq_cst) > 0", std::memory_order_relaxed));
  catches<OneProducer<Deque>>("a push to the deque only releases",
                              weakened("bottom_.store(b + 1, base::seq_cst)", std::memory_order_release));
  catches<OneProducer<Lane>>("a push to the lane only releases",
                             weakened("tail_.store(t + 1, base::seq_cst)", std::memory_order_release));
}

}  // namespace
