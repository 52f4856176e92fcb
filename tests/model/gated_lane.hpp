// gated_lane.hpp -- a gated lane and its workers for the model checks, as small as the protocol allows.
//
// What      The lane is sched/lanes.hpp with one priority; the worker is Worker::take_gated, leave_gate, enter_body,
//           leave_body and wait_for_work; the watch is Watch::loop with one quiet tick. `Bug` swaps a step.
// Why       Gate, queue and idle are the shipped templates; what is copied here is the code between them.
// Threads   As there.
#pragma once

#include <array>
#include <utility>

#include "checker.hpp"
#include "tailrace/queue/mpsc_queue.hpp"
#include "tailrace/sched/gate.hpp"
#include "tailrace/sched/idle.hpp"

namespace tailrace::model::gated {

using Gate = sched::BasicGate<ModelAtomics>;

enum class Body : std::uint8_t { kNone, kShort, kOpen, kOpenEndless, kShortEndless };
enum class Bug : std::uint8_t { kNone, kNoLookAfterRelease, kNoLeftover, kNoticeBeforeOpen, kPopsWhileOpen, kNoWatch };

struct Item {
  Var<Item*> next{nullptr};
  Body body = Body::kNone;
  int times = 0;
};

template <int kItems, Bug kBug>
struct Lane {
  tailrace::queue::MpscQueue<Item, ModelAtomics> queue;
  Gate gate;
  Atomic<bool> leftover{false};
  Var<int> consumers{0};  // touched by whoever acts as the consumer: two at once are a data race
  sched::BasicIdle<ModelAtomics> idle{2};
  std::array<Item, kItems> items{};
  bool goes_away = false, gone = false;  // the first worker that leaves the gate takes up an endless ungated body
  Atomic<bool> watching{false};
  Atomic<std::uint32_t> watch_word{0};

  void push(int i, Body body) {
    items[static_cast<std::size_t>(i)].body = body;
    queue.push(&items[static_cast<std::size_t>(i)]);
    if (gate.can_acquire()) idle.notify();
  }
  Item* pop() {
    consumers = 1;
    return queue.pop();
  }
  bool has_items() const { return leftover.load(std::memory_order_seq_cst) || !queue.empty(); }
  void note_leftover() {
    consumers = 1;
    const bool left = kBug != Bug::kNoLeftover && queue.turned_round();
    if (left != leftover.load(std::memory_order_relaxed)) leftover.store(left, std::memory_order_seq_cst);
  }
  bool sees_work() const { return has_items() && gate.can_acquire(); }

  void keep_watch() {
    if (!watching.load(std::memory_order_seq_cst) && !watching.exchange(true, std::memory_order_seq_cst)) {
      watch_word.fetch_add(1, std::memory_order_release);
      ModelAtomics::unpark(watch_word, 1);
    }
  }
  void watch() {
    for (std::uint64_t last = 0;;) {
      const std::uint32_t word = watch_word.load(std::memory_order_acquire);
      if (watching.load(std::memory_order_relaxed)) {
        const std::uint64_t closed = gate.closed_body();
        if (closed != 0 && closed == last && gate.force_open(closed) && has_items()) idle.notify();
        last = closed;
        if (gate.can_acquire()) {
          watching.store(false, std::memory_order_seq_cst);
          if (!gate.can_acquire()) watching.store(true, std::memory_order_relaxed);
        }
      }
      ModelAtomics::park(watch_word, word, watching.load(std::memory_order_relaxed) ? 1 : -1);
    }
  }

  int left(int pushed) const {
    int n = 0;
    for (int i = 0; i < pushed; ++i) n += items[static_cast<std::size_t>(i)].times == 0 ? 1 : 0;
    return n;
  }
};

template <int kItems, Bug kBug>
struct Worker {
  Lane<kItems, kBug>& lane;
  int id;
  Gate::Ticket ticket = 0;
  bool inside = false, searching = false;

  void leave_gate() {
    if (!inside) return;
    inside = false;
    if (ticket == 0) return;
    lane.note_leftover();
    lane.gate.release(ticket);
    ticket = 0;
    if (kBug != Bug::kNoLookAfterRelease && lane.has_items()) lane.idle.notify();
  }
  Item* take() {
    if (!inside) {
      if (!lane.has_items() || (ticket = lane.gate.try_acquire()) == 0) return nullptr;
      if (kBug != Bug::kNoWatch) lane.keep_watch();
      found_work();
      inside = true;
    } else if (ticket == 0 && kBug != Bug::kPopsWhileOpen) {
      if ((ticket = lane.gate.try_acquire()) == 0) return leave_gate(), nullptr;
    }
    Item* item = lane.pop();
    if (item == nullptr) leave_gate();
    return item;
  }
  void found_work() {
    if (!searching) return;
    searching = false;
    if (lane.idle.end_search() && lane.sees_work()) lane.idle.notify();
  }
  bool run(Item& item) {
    check(++item.times == 1, "an item ran twice");
    const bool open = item.body == Body::kOpen || item.body == Body::kOpenEndless;
    if (ticket != 0) {
      lane.note_leftover();
      const bool early = kBug == Bug::kNoticeBeforeOpen && lane.gate.can_acquire();
      lane.gate.enter_body(ticket, open);
      if (open && (kBug != Bug::kNoticeBeforeOpen || early) && lane.has_items()) lane.idle.notify();
    }
    if (item.body == Body::kOpenEndless || item.body == Body::kShortEndless) return false;
    if (ticket != 0 && !lane.gate.leave_body(ticket)) ticket = 0;
    return true;
  }
  void loop() {
    for (;;) {
      const bool was_inside = inside;
      Item* item = inside ? take() : nullptr;
      if (was_inside && !inside && lane.goes_away && !std::exchange(lane.gone, true)) return;
      if (item == nullptr) item = take();
      if (item != nullptr) {
        found_work();
        if (!run(*item)) return;
        continue;
      }
      if (!searching) searching = lane.idle.begin_search(2);
      if (searching) {
        if (lane.sees_work()) continue;
        searching = false;
        lane.idle.end_search();
      }
      lane.idle.prepare_park(id);
      if (lane.sees_work()) {
        lane.idle.cancel_park(id);
        searching = true;
        continue;
      }
      searching = lane.idle.park(id, -1);
    }
  }
};

}  // namespace tailrace::model::gated
