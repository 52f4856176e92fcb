// stop.cpp -- a stop in the middle: every item of the gated lane either runs or is completed, by whoever comes last; and
// every closure that was taken runs once.
//
// The worker is Worker::loop around take_gated and leave_gate, without parking (a stop wakes everybody); the pusher is
// Scheduler::push_gated, the stopper Scheduler::stop_begin. Below, the worker is Worker::loop around take_injected, the
// submitter Scheduler::inject.
#include <array>

#include "prove.hpp"
#include "tailrace/queue/inject_lane.hpp"
#include "tailrace/queue/mpsc_queue.hpp"
#include "tailrace/sched/gate.hpp"

namespace {

using namespace tailrace::model;
using tailrace::queue::Publish;
using Gate = tailrace::sched::BasicGate<ModelAtomics>;

enum class Bug : std::uint8_t { kNone, kHolderOnlyNotifies, kPusherAcquires, kSweepGuesses };

struct Item {
  Var<Item*> next{nullptr};
  int times = 0;
};

template <Bug kBug>
struct Stopped {
  static constexpr int kThreads = 3;
  static constexpr Order kLook = kBug == Bug::kPusherAcquires ? std::memory_order_acquire : std::memory_order_seq_cst;
  tailrace::queue::MpscQueue<Item, ModelAtomics> queue;
  Gate gate;
  Var<int> consumers{0};
  Atomic<bool> leftover{false};
  Atomic<bool> stopping{false};
  std::array<Item, 3> items{};

  Stopped() { queue.push(&items[0]); }

  Item* pop() {
    consumers = 1;
    return queue.pop();
  }
  void end(Item* item) { check(++item->times == 1, "an item ended twice"); }
  bool has_items() const { return leftover.load(std::memory_order_seq_cst) || !queue.empty(); }
  void note_leftover() {
    const bool left = queue.turned_round();
    if (left != leftover.load(std::memory_order_relaxed)) leftover.store(left, std::memory_order_seq_cst);
  }
  void sweep() {
    while (has_items() && (kBug == Bug::kSweepGuesses || gate.can_acquire())) {
      const Gate::Ticket ticket = gate.try_acquire();
      if (ticket == 0) return;
      while (Item* item = pop()) end(item);
      note_leftover();
      gate.release(ticket);
    }
  }
  void leave(Gate::Ticket ticket) {
    if (stopping.load(std::memory_order_acquire)) {
      while (Item* item = pop()) end(item);
    }
    note_leftover();
    gate.release(ticket);
    if (kBug != Bug::kHolderOnlyNotifies && has_items() && stopping.load(std::memory_order_seq_cst)) sweep();
  }
  void work() {
    for (;;) {
      if (const Gate::Ticket ticket = has_items() ? gate.try_acquire() : 0; ticket != 0) {
        Item* item = stopping.load(std::memory_order_acquire) ? nullptr : pop();
        if (item != nullptr) end(item);  // it runs
        leave(ticket);
        if (item != nullptr) continue;
      }
      if (stopping.load(std::memory_order_acquire)) return;
      ModelAtomics::pause();
    }
  }
  void thread(int i) {
    if (i == 1) return work();
    if (i == 2) {
      for (std::size_t k = 1; k < items.size(); ++k) {
        queue.push(&items[k]);
        if (stopping.load(kLook)) sweep();
      }
    } else {
      stopping.store(true, std::memory_order_seq_cst);
      sweep();
    }
  }
  void finally() {
    for (const Item& item : items) check(item.times == 1, "an item neither ran nor was completed");
  }
};

enum class Slip : std::uint8_t { kNone, kLooksBeforeStop, kTrustsTheClaim, kPusherGoes, kPusherAcquires, kNoBarrier };

// A worker, a submitter of two closures into a lane of its own, a stop.
template <Slip kSlip, Publish kPublish = Publish::kOrdered>
struct Submits {
  static constexpr int kThreads = 3;
  static constexpr Order kLook = kSlip == Slip::kPusherAcquires ? std::memory_order_acquire : std::memory_order_seq_cst;
  tailrace::queue::InjectLane<2, ModelAtomics> lane;
  Atomic<bool> stopping{false};
  std::array<int, 2> taken{}, ran{};

  bool run_some() {
    tailrace::queue::Cell cell{};
    if (lane.claim(&cell, 1) == 0) return false;
    check(++ran[cell[0]] == 1, "a closure ran twice");
    return true;
  }
  void work() {
    for (;;) {
      if (run_some()) continue;
      if (stopping.load(std::memory_order_acquire)) {
        if (kSlip == Slip::kLooksBeforeStop) return;
        if (kPublish == Publish::kReleased && kSlip != Slip::kNoBarrier) ModelAtomics::membarrier();
        if (kSlip == Slip::kTrustsTheClaim ? !run_some() : lane.empty()) return;
      }
      ModelAtomics::pause();
    }
  }
  void submit(std::size_t k) {
    if (stopping.load(std::memory_order_acquire)) return;  // refused
    tailrace::queue::Cell cell{};
    cell[0] = k;
    check(lane.try_push(cell, kPublish), "the lane is full");
    taken[k] = 1;
    if (kSlip == Slip::kPusherGoes || !stopping.load(kLook)) return;
    while (!lane.empty()) {
      if (!run_some()) ModelAtomics::pause();
    }
  }
  void thread(int i) {
    if (i == 1) return work();
    if (i == 3) return stopping.store(true, std::memory_order_seq_cst);
    submit(0);
    submit(1);
  }
  void finally() { check(taken == ran, "a closure was taken and did not run"); }
};

TEST(a_closure_that_was_taken_runs_once_whenever_the_stop_comes) {
  prove<Submits<Slip::kNone>>("a worker, a submitter, a stop", {.preemptions = 3, .stale_loads = 2});
  prove<Submits<Slip::kNone, Publish::kReleased>>("a submitter without a fence", {.preemptions = 2, .stale_loads = 2});
  prove<Submits<Slip::kNone>>("a worker, a submitter, a stop", {.random = 100'000});
}

TEST(the_check_of_closures_at_stop_catches_its_mutants) {
  const Bounds small{.preemptions = 3, .stale_loads = 2};
  catches<Submits<Slip::kLooksBeforeStop>>("the worker looks, then reads the stop, then leaves", small);
  catches<Submits<Slip::kPusherGoes>>("the submitter does not look for the stop after its push", small);
  catches<Submits<Slip::kTrustsTheClaim>>("the worker's last look is a claim, which may read an old end", small);
  catches<Submits<Slip::kNoBarrier, Publish::kReleased>>("no membarrier before the worker's last look", small);
  catches<Submits<Slip::kPusherAcquires>>("the submitter looks for the stop with acquire", small);
}

TEST(a_stop_in_the_middle_leaves_no_item_behind) {
  prove<Stopped<Bug::kNone>>("a worker, a pusher, a stop", {.preemptions = 3, .stale_loads = 1});
  prove<Stopped<Bug::kNone>>("a worker, a pusher, a stop", {.random = 100'000});
}

TEST(the_check_of_stop_catches_its_mutants) {
  const Bounds small{.preemptions = 3, .stale_loads = 1};
  catches<Stopped<Bug::kHolderOnlyNotifies>>("the holder only notifies when it leaves", small);
  catches<Stopped<Bug::kPusherAcquires>>("a pusher looks for the stop with acquire", small);
  catches<Stopped<Bug::kSweepGuesses>>("a sweep trusts a relaxed look at the permit", small);
}

}  // namespace
