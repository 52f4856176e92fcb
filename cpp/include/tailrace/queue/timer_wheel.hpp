// timer_wheel.hpp -- timers by deadline: armed and cancelled in constant time, exact to the nanosecond.
//
// What      A hierarchical wheel: eleven levels of 64 slots, a slot of level n being 64^n nanoseconds wide, which reaches
//           from one nanosecond to kNever. A timer lies in the level of the highest digit (of six bits) in which its
//           deadline differs from the wheel's time, and moves down as time comes into its slot.
// Why       Nearly every deadline is cancelled, and then costs a link and an unlink: a heap pays its depth for both. Ticks
//           of a nanosecond make the order that of the deadlines, with nothing early and nothing late, so that virtual time
//           is driven by the same wheel; the many levels cost nothing, as empty ones are never looked at (a bit for each
//           slot, a bit for each level).
// Threads   One owner at a time.
// Source    Varghese and Lauck 1987, "Hashed and Hierarchical Timing Wheels", section 6.2; the level by the highest
//           differing digit, which keeps equal deadlines together: Ahuja, Mehlhorn, Orlin, Tarjan 1990, radix heaps.
// Checked   tests/cpp/queue/test_timer_wheel.cpp (against a sorted map, over seeds), bench/native/timers.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "tailrace/base/check.hpp"
#include "tailrace/base/clock.hpp"

namespace tailrace::queue {

struct TimerLink {
  TimerLink* next = nullptr;  // null: in no wheel
  TimerLink* previous = nullptr;
};

// What is to be put into a wheel; the fields belong to the wheel while it is there.
struct TimerNode : TimerLink {
  std::int64_t due_ns = 0;
  std::uint64_t order = 0;  // equal deadlines come out by this, the smallest first
  bool linked() const noexcept { return next != nullptr; }
};

class TimerWheel {
 public:
  TimerWheel() noexcept {
    for (TimerLink& list : lists_) list.next = list.previous = &list;
  }
  TimerWheel(const TimerWheel&) = delete;
  TimerWheel& operator=(const TimerWheel&) = delete;

  void insert(TimerNode& node, std::int64_t due_ns, std::uint64_t order) noexcept {
    TAILRACE_CHECK(!node.linked(), "a timer is in one place of one wheel");
    node.due_ns = due_ns;
    node.order = order;
    ++size_;
    place(node);
    if (earliest_known_ && (earliest_ == nullptr || due_ns < earliest_->due_ns)) earliest_ = &node;
  }

  void remove(TimerNode& node) noexcept {
    TimerLink* const neighbour = node.next;
    unlink(node);
    --size_;
    if (neighbour->next == neighbour) emptied(neighbour);  // alone in its list: the head of it
    if (&node == earliest_) earliest_known_ = false;
  }

  // Takes out the first node that is due at `now_ns`, by deadline and then by order; null when none is. Time does not
  // go back: an older `now_ns` than one seen before counts as that one.
  TimerNode* pop_due(std::int64_t now_ns) noexcept {
    if (now_ns < now_ns_) now_ns = now_ns_;
    while (due().next == &due()) {
      if (levels_ == 0 || !open_next(now_ns)) {
        now_ns_ = now_ns;
        return nullptr;
      }
    }
    auto& node = static_cast<TimerNode&>(*due().next);
    unlink(node);
    --size_;
    earliest_known_ = false;
    return &node;
  }

  // A node of the earliest deadline; null when there is none. Looks through one slot if the last answer was removed.
  TimerNode* earliest() noexcept {
    if (!earliest_known_) {
      earliest_ = find_earliest();
      earliest_known_ = true;
    }
    return earliest_;
  }

  // Calls `fn(node)` for each node, which may remove that node.
  template <class Fn>
  void for_each(Fn&& fn) {
    for (TimerLink& list : lists_) {
      for (TimerLink *link = list.next, *next = nullptr; link != &list; link = next) {
        next = link->next;
        fn(static_cast<TimerNode&>(*link));
      }
    }
  }

  std::size_t size() const noexcept { return size_; }

 private:
  static constexpr int kBits = 6;
  static constexpr int kLevels = (63 + kBits - 1) / kBits;
  static constexpr std::size_t kSlots = std::size_t{1} << kBits;
  static constexpr std::size_t kDue = kLevels * kSlots;  // the list of those whose time has come

  TimerLink& due() noexcept { return lists_[kDue]; }
  // The list of the earliest slot that holds something; there is one.
  std::size_t first() const noexcept {
    const int level = __builtin_ctz(levels_);
    return static_cast<std::size_t>(level) * kSlots +
           static_cast<std::size_t>(__builtin_ctzll(occupied_[static_cast<std::size_t>(level)]));
  }

  static void link_before(TimerLink& place, TimerNode& node) noexcept {
    node.next = &place;
    node.previous = place.previous;
    place.previous->next = &node;
    place.previous = &node;
  }
  static void unlink(TimerNode& node) noexcept {
    node.previous->next = node.next;
    node.next->previous = node.previous;
    node.next = node.previous = nullptr;
  }

  // A node beyond the present differs from it first in a digit that is greater; all that lie above or in that digit are
  // later still. So the lowest level that holds something holds the earliest, and equal deadlines are in one list.
  void place(TimerNode& node) noexcept {
    if (node.due_ns <= now_ns_) return place_due(node);
    const auto differs = static_cast<std::uint64_t>(node.due_ns ^ now_ns_);
    const auto level = static_cast<std::size_t>((63 - __builtin_clzll(differs)) / kBits);
    const auto slot = static_cast<std::size_t>(node.due_ns >> (level * kBits)) & (kSlots - 1);
    link_before(lists_[level * kSlots + slot], node);
    occupied_[level] |= std::uint64_t{1} << slot;
    levels_ |= 1u << level;
  }

  // From the back: most come in their order, one step each.
  void place_due(TimerNode& node) noexcept {
    TimerLink* after = due().previous;
    for (; after != &due(); after = after->previous) {
      const auto& other = static_cast<const TimerNode&>(*after);
      if (other.due_ns != node.due_ns ? other.due_ns < node.due_ns : other.order < node.order) break;
    }
    link_before(*after->next, node);
  }

  void emptied(TimerLink* head) noexcept {
    const auto list = static_cast<std::size_t>(head - lists_.data());
    if (list == kDue) return;
    const std::size_t level = list / kSlots;
    occupied_[level] &= ~(std::uint64_t{1} << (list % kSlots));
    if (occupied_[level] == 0) levels_ &= ~(1u << level);
  }

  // Moves time into the earliest slot, and its timers down; false when that slot begins after `now_ns`.
  bool open_next(std::int64_t now_ns) noexcept {
    const std::size_t list = first();
    const auto level = static_cast<int>(list / kSlots);
    const auto slot = static_cast<std::int64_t>(list % kSlots);
    const int shift = level * kBits;
    const std::int64_t above = shift + kBits < 63 ? (now_ns_ >> (shift + kBits)) << (shift + kBits) : 0;
    const std::int64_t begins_ns = above | (slot << shift);
    if (begins_ns > now_ns) return false;
    TimerLink& head = lists_[list];
    auto* node = static_cast<TimerNode*>(head.next);
    // One timer alone is either due, or not yet, without a visit to each level below.
    const bool alone = node->next == &head;
    now_ns_ = !alone ? begins_ns : node->due_ns < now_ns ? node->due_ns : now_ns;
    TimerLink* const last = head.previous;
    head.next = head.previous = &head;
    emptied(&head);
    for (TimerNode* next = nullptr;; node = next) {
      next = static_cast<TimerNode*>(node->next);
      const bool was_last = node == last;
      place(*node);
      if (was_last) return true;
    }
  }

  TimerNode* find_earliest() noexcept {
    if (due().next != &due()) return static_cast<TimerNode*>(due().next);
    if (levels_ == 0) return nullptr;
    TimerLink& head = lists_[first()];
    auto* best = static_cast<TimerNode*>(head.next);
    for (TimerLink* link = best->next; link != &head; link = link->next) {
      auto* node = static_cast<TimerNode*>(link);
      if (node->due_ns < best->due_ns) best = node;
    }
    return best;
  }

  std::int64_t now_ns_ = 0;
  std::uint32_t levels_ = 0;  // bit n: level n holds something
  bool earliest_known_ = true;
  TimerNode* earliest_ = nullptr;
  std::size_t size_ = 0;
  std::array<std::uint64_t, kLevels> occupied_{};
  std::array<TimerLink, kDue + 1> lists_;
};

}  // namespace tailrace::queue
