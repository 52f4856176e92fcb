// lanes.hpp -- the gated lane: items of three priorities behind one permit.
//
// What      Two queues for each priority (begun runs, new work) and the gate whose holder may take from them.
// Why       All items that need the same gate (the GIL) wait in one place, and one worker at a time drains them.
// Threads   push, has_items: any thread. pop, note_leftover: the holder of the permit.
#pragma once

#include <array>
#include <cstdint>

#include "tailrace/queue/mpsc_queue.hpp"
#include "tailrace/sched/gate.hpp"
#include "tailrace/sched/item.hpp"

namespace tailrace::sched {

class GatedLane {
 public:
  void push(Item* item) noexcept {
    classes_[2 * static_cast<std::size_t>(item->priority) + (item->begun ? 0 : 1)].push(item);
  }

  // The highest class first; every kAgeing-th item comes from the lowest, so that no class starves.
  Item* pop() noexcept {
    const bool lowest_first = ++taken_ % kAgeing == 0;
    for (int i = 0; i < kClasses; ++i) {
      const int c = lowest_first ? kClasses - 1 - i : i;
      if (Item* item = classes_[static_cast<std::size_t>(c)].pop()) return item;
    }
    return nullptr;
  }

  // Anybody's view: something is there, be it newly pushed or already turned round by the last holder.
  bool has_items() const noexcept {
    // [G5] seq_cst: a parker asks this after it has shown itself; pairs with the store in `note_leftover`.
    if (leftover_.load(base::seq_cst)) return true;
    for (const auto& queue : classes_) {
      if (!queue.empty()) return true;
    }
    return false;
  }

  // The holder, before a body and before it gives the permit up: tells the others what it has turned round.
  void note_leftover() noexcept {
    bool left = false;
    for (const auto& queue : classes_) left = left || queue.turned_round();
    // relaxed: the holder alone writes it, and the permit's word carries it to the next holder.
    if (left != leftover_.load(base::relaxed)) leftover_.store(left, base::seq_cst);  // [G5] seq_cst: as above
  }

  Gate gate;

 private:
  static constexpr std::uint32_t kAgeing = 16;
  // A run that comes back to the lane, behind all that has arrived meanwhile, would wait twice: so two for each.
  static constexpr int kClasses = 2 * kPriorities;

  std::array<queue::MpscQueue<Item>, kClasses> classes_;
  base::atomic<bool> leftover_{false};
  std::uint32_t taken_ = 0;
};

}  // namespace tailrace::sched
