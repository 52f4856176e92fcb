// idle.cpp -- no lost wake-ups: no work is left while the workers that could do it are asleep.
//
// The worker here is Worker::loop and Worker::wait_for_work with the spinning cut to one look; the producer is
// Injection::push, in both its modes.
#include "tailrace/sched/idle.hpp"

#include <array>

#include "prove.hpp"
#include "tailrace/queue/inject_lane.hpp"
#include "tailrace/queue/steal_deque.hpp"

namespace {

using namespace tailrace::model;
using tailrace::queue::Publish;
using tailrace::sched::BasicIdle;
using Idle = BasicIdle<ModelAtomics>;

enum class Bug : std::uint8_t {
  kNone,
  kNoSecondLook,
  kNotifyFirst,
  kNoLookAfterSearch,
  kStopsSearching,
  kNoBarrier,         // a sleeper makes no membarrier though pushers rely on it
  kBarrierTooEarly,   // it makes it before it shows itself
  kLongAsShort,       // a body without end is run as if it were a short one
  kPushNotOrdered,    // a pusher that sees a sleeper goes on without ordering its push
};

// The smallest queue: a count. It publishes with seq_cst, as the real ones do.
struct Count {
  static constexpr bool kAsymmetric = false;
  Atomic<int> ready{0};
  int pushed = 0;
  void push() {
    ++pushed;
    ready.fetch_add(1, std::memory_order_seq_cst);
  }
  void order_push() {}
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

// The smallest lane: one producer, who publishes by release alone.
struct Tail {
  static constexpr bool kAsymmetric = true;
  Atomic<int> tail{0}, head{0};
  int pushed = 0;
  void push() { tail.store(++pushed, std::memory_order_release); }
  void order_push() { tail.store(pushed, std::memory_order_seq_cst); }
  bool take() {
    int seen = head.load(std::memory_order_relaxed);
    if (seen >= tail.load(std::memory_order_acquire)) return false;
    return head.compare_exchange_strong(seen, seen + 1, std::memory_order_release, std::memory_order_relaxed);
  }
  bool sees() const { return head.load(std::memory_order_seq_cst) < tail.load(std::memory_order_seq_cst); }
  bool left() const { return head.peek() < tail.peek(); }
};

struct Deque {
  static constexpr bool kAsymmetric = false;
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
  void order_push() {}
  bool sees() const { return !deque.empty(); }
  bool left() const { return taken < pushed; }
};

template <Publish kPublish>
struct Lane {
  static constexpr bool kAsymmetric = kPublish == Publish::kReleased;
  tailrace::queue::InjectLane<2, ModelAtomics> lane;
  int pushed = 0, taken = 0;
  void push() {
    if (lane.try_push({}, kPublish)) ++pushed;
  }
  void order_push() { lane.order_push(); }
  bool take() {
    tailrace::queue::Cell cell{};
    const std::size_t n = lane.claim(&cell, 1);
    taken += static_cast<int>(n);
    return n != 0;
  }
  bool sees() const { return !lane.empty(); }
  bool left() const { return taken < pushed; }
};

template <class Queue, Bug kBug, int kWorkers = 2>
struct Sleepers {
  Queue queue;
  Idle idle{kWorkers, Queue::kAsymmetric && kBug != Bug::kNoBarrier && kBug != Bug::kBarrierTooEarly};
  Atomic<bool> stopping{false};
  int ran = 0;

  void produce() {
    if (kBug == Bug::kNotifyFirst) idle.notify();
    queue.push();
    if (kBug == Bug::kNotifyFirst) return;
    if (Queue::kAsymmetric) {
      if (!idle.must_notify()) return;
      if (kBug != Bug::kPushNotOrdered) queue.order_push();
    }
    idle.notify();
  }

  // `endless`: which item (counted as they are taken) never returns from its body. Those before it are `short_ones`, as
  // Worker::goes_on_searching has them, or not.
  void work(int id, int endless, bool short_ones = false) {
    for (bool searching = false;;) {
      if (queue.take()) {
        const bool is_short = short_ones && (ran + 1 != endless || kBug == Bug::kLongAsShort);
        if (searching && !is_short) {
          searching = false;
          if (idle.end_search() && kBug != Bug::kNoLookAfterSearch && queue.sees()) idle.notify();
        }
        if (++ran == endless) return;
        continue;
      }
      if (stopping.load(std::memory_order_acquire)) return;
      if (!searching) searching = idle.begin_search(kWorkers);
      if (searching) {
        if (queue.sees()) continue;
        searching = false;
        idle.end_search();
      }
      if (kBug == Bug::kBarrierTooEarly) ModelAtomics::membarrier();
      idle.prepare_park(id);
      if (kBug != Bug::kNoSecondLook && (queue.sees() || stopping.load(std::memory_order_seq_cst))) {
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

// The first item is known to be short: who runs it stays a searcher. The second has a body without end.
template <class Queue, Bug kBug = Bug::kNone>
struct ShortThenEndless : Sleepers<Queue, kBug> {
  static constexpr int kThreads = 3;
  void thread(int i) {
    if (i < 3) return this->work(i - 1, 2, true);
    for (int k = 0; k < 3; ++k) this->produce();
  }
};

// As the first, with a third worker.
template <class Queue>
struct ThreeWorkers : Sleepers<Queue, Bug::kNone, 3> {
  static constexpr int kThreads = 4;
  void thread(int i) {
    if (i < 4) return this->work(i - 1, 1);
    this->produce();
    this->produce();
  }
};

// A stop, in the middle of it all: every worker must come out.
template <class Queue, int kWorkers>
struct Stopped : Sleepers<Queue, Bug::kNone, kWorkers> {
  static constexpr int kThreads = kWorkers + 2;
  void thread(int i) {
    if (i <= kWorkers) return this->work(i - 1, 0);
    if (i == kWorkers + 1) return this->produce();
    this->stopping.store(true, std::memory_order_seq_cst);
    this->idle.notify_all();
  }
  bool may_sleep() const { return false; }
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
  Idle idle{1};
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
  prove<OneProducer<Lane<Publish::kOrdered>>>("a lane, two workers", {.preemptions = 2, .stale_loads = 1});
  prove<OneProducer<Count>>("a producer, two workers", {.random = 50'000});
  prove<ThreeWorkers<Count>>("a producer, three workers, an endless body", {.preemptions = 1, .stale_loads = 1});
  prove<ThreeWorkers<Count>>("a producer, three workers, an endless body", {.random = 100'000});
}

TEST(no_work_is_left_when_sleepers_pay_for_the_order_of_the_pushes) {
  prove<OneProducer<Tail>>("a producer without fences, two workers", {.preemptions = 2, .stale_loads = 1});
  prove<OneProducer<Tail>>("a producer without fences, two workers", {.random = 200'000});
  prove<EndlessBody<Tail>>("the same, an endless body", {.preemptions = 2, .stale_loads = 2});
  prove<EndlessBody<Tail>>("the same, an endless body", {.random = 300'000});
  prove<OneProducer<Lane<Publish::kReleased>>>("a lane without fences, two workers",
                                               {.preemptions = 2, .stale_loads = 1});
  prove<ThreeWorkers<Tail>>("three workers, an endless body", {.preemptions = 1, .stale_loads = 1});
  prove<ThreeWorkers<Tail>>("three workers, an endless body", {.random = 200'000});
}

TEST(a_stop_wakes_every_sleeper) {
  prove<Stopped<Count, 2>>("a producer, two workers, a stop", {.preemptions = 1, .stale_loads = 1});
  prove<Stopped<Tail, 2>>("the same, a producer without fences", {.preemptions = 1, .stale_loads = 1});
  prove<Stopped<Tail, 3>>("three workers", {.random = 100'000});
}

TEST(a_worker_in_a_body_without_end_delays_no_other_item) {
  prove<EndlessBody<Count>>("an endless body, two workers", {.preemptions = 3, .stale_loads = 1});
  prove<SlowWaker>("two producers, two workers, an endless body", {.preemptions = 3, .stale_loads = 0});
  prove<SlowWaker>("two producers, two workers, an endless body", {.random = 400'000});
}

TEST(a_searcher_that_runs_short_items_meanwhile_delays_no_other) {
  prove<ShortThenEndless<Count>>("short items and an endless one", {.preemptions = 2, .stale_loads = 1});
  prove<ShortThenEndless<Tail>>("the same, a producer without fences", {.preemptions = 2, .stale_loads = 1});
  prove<ShortThenEndless<Tail>>("the same, a producer without fences", {.random = 100'000});
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
  catches<ShortThenEndless<Count, Bug::kLongAsShort>>("a body without end is run as a short one", small);
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
  catches<OneProducer<Lane<Publish::kOrdered>>>(
      "a push to the lane only releases", weakened("tail_.store(t + 1, base::seq_cst)", std::memory_order_release));
  catches<Stopped<Count, 2>>("a sleeper looks for the stop with acquire",
                             weakened("queue.sees() || stopping.load", std::memory_order_acquire));
}

TEST(the_check_of_idle_catches_its_mutants_where_sleepers_pay) {
  const Bounds small{.preemptions = 3, .stale_loads = 1};
  catches<OneProducer<Tail, Bug::kNoBarrier>>("no membarrier", small);
  catches<OneProducer<Tail, Bug::kBarrierTooEarly>>("the membarrier before the bit", small);
  catches<EndlessBody<Tail, Bug::kPushNotOrdered>>("a pusher that sees a sleeper does not order its push", small);
  catches<OneProducer<Lane<Publish::kReleased>, Bug::kNoBarrier>>("no membarrier, the lane", small);
  catches<EndlessBody<Tail, Bug::kNoLookAfterSearch>>("the last searcher does not look again", small);
}

}  // namespace
