// stand_in.cpp -- a thread that stands in for the workers takes one item, and no other is left behind because of it.
//
// sched/take_one.hpp as it ships, beside the workers and pushers of gated_lane.hpp. A worker that comes in while the
// stand-in holds the permit finds it taken and goes to sleep; a pusher then wakes nobody.
#include "tailrace/sched/take_one.hpp"

#include "gated_lane.hpp"
#include "prove.hpp"

namespace {

using namespace tailrace::model;
using namespace tailrace::model::gated;

enum class Lapse : std::uint8_t { kNone, kNoNotify, kNoSweep, kLooksForStopAcquire, kTakesAfterStop };

// A pusher, a worker, and a stand-in that looks twice. What the stand-in takes, it runs for ever: as the body of a step
// may, so the rest is the worker's.
template <Lapse kLapse, Bug kBug = Bug::kNone>
struct StandsIn {
  static constexpr int kThreads = 3;
  static constexpr int kItems = 2;
  Lane<kItems, kBug> lane;

  Item* take() {
    return tailrace::sched::take_one(
        lane, [] { return false; }, [] {},
        [this] {
          if (kLapse != Lapse::kNoNotify) lane.idle.notify();
        });
  }
  void thread(int i) {
    if (i == 1) {
      Worker<kItems, kBug> worker{lane, 0};
      return worker.loop();
    }
    if (i == 2) {
      for (int n = 0; n < kItems; ++n) lane.push(n, Body::kShort);
      return;
    }
    for (int looks = 0; looks < 2; ++looks) {
      if (Item* item = take()) {
        check(++item->times == 1, "an item ran twice");
        return;
      }
    }
  }
  bool may_sleep() const { return lane.left(kItems) == 0; }
  void finally() { check(lane.left(kItems) == 0, "an item was lost"); }
};

// A pusher, a stand-in and a stop; no worker is there any more, so who comes last ends what is left.
template <Lapse kLapse>
struct StopsMeanwhile {
  static constexpr int kThreads = 3;
  static constexpr Order kLook =
      kLapse == Lapse::kLooksForStopAcquire ? std::memory_order_acquire : std::memory_order_seq_cst;
  Lane<2, Bug::kNone> lane;
  Atomic<bool> stopping{false};

  void end(Item* item) { check(++item->times == 1, "an item ended twice"); }
  void sweep() {
    while (lane.has_items() && lane.gate.can_acquire()) {
      const Gate::Ticket ticket = lane.gate.try_acquire();
      if (ticket == 0) return;
      while (Item* item = lane.pop()) end(item);
      lane.note_leftover();
      lane.gate.release(ticket);
    }
  }
  void thread(int i) {
    if (i == 1) {
      for (int n = 0; n < 2; ++n) {
        lane.items[static_cast<std::size_t>(n)].body = Body::kShort;
        lane.queue.push(&lane.items[static_cast<std::size_t>(n)]);
        if (stopping.load(std::memory_order_seq_cst)) sweep();
      }
    } else if (i == 2) {
      Item* item = tailrace::sched::take_one(
          lane, [this] { return kLapse != Lapse::kTakesAfterStop && stopping.load(kLook); },
          [this] {
            if (kLapse != Lapse::kNoSweep) sweep();
          },
          [] {});
      if (item != nullptr) end(item);
    } else {
      stopping.store(true, std::memory_order_seq_cst);
      sweep();
    }
  }
  void finally() {
    if (!stopping.load(std::memory_order_relaxed)) return;
    for (const Item& item : lane.items) check(item.times == 1, "an item neither ran nor was completed");
  }
};

TEST(a_stand_in_takes_one_item_and_leaves_none_behind_beside_a_sleeping_worker) {
  prove<StandsIn<Lapse::kNone>>("a pusher, a worker, a stand-in", {.preemptions = 2, .stale_loads = 1});
  prove<StandsIn<Lapse::kNone>>("a pusher, a worker, a stand-in", {.random = 100'000});
}

TEST(a_stop_while_somebody_stands_in_ends_every_item_once) {
  prove<StopsMeanwhile<Lapse::kNone>>("a pusher, a stand-in, a stop", {.preemptions = 3, .stale_loads = 1});
  prove<StopsMeanwhile<Lapse::kNone>>("a pusher, a stand-in, a stop", {.random = 100'000});
}

TEST(the_check_of_the_stand_in_catches_its_mutants) {
  const Bounds small{.preemptions = 3, .stale_loads = 1};
  const auto weakened = [&](const char* text, Order order) {
    Bounds bounds = small;
    bounds.mutants = {{text, order}};
    return bounds;
  };
  catches<StandsIn<Lapse::kNoNotify>>("no wake for what came while the permit was held", small);
  catches<StandsIn<Lapse::kNone, Bug::kNoLeftover>>("what was turned round is not told", small);
  catches<StandsIn<Lapse::kNone>>(
      "the permit is released and no more",
      weakened("word_.store(with(ticket, kFree), base::seq_cst)", std::memory_order_release));
  catches<StopsMeanwhile<Lapse::kNoSweep>>("a stop meanwhile is nobody's business", small);
  catches<StopsMeanwhile<Lapse::kTakesAfterStop>>("the stop is not looked for", small);
  catches<StopsMeanwhile<Lapse::kLooksForStopAcquire>>("the stop is looked for with acquire", small);
}

}  // namespace
