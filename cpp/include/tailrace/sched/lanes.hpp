// lanes.hpp -- the gated lane: items behind one permit, by priority, deadline and service.
//
// What      One push stack for all that arrives; the holder of the permit files it into lists of its own: for each
//           priority one by deadline and one for each level of service.
// Why       All items that need the same gate (the GIL) wait in one place, and one worker at a time drains them. A pusher
//           touches one line, and the order costs the holder a bit scan, however many classes there are.
// Threads   push, has_items, depth: any thread. pop, note_leftover: the holder of the permit.
// Source    Levels of service: Nuyens, Wierman 2008, "The Foreground-Background queue: a survey".
// Checked   tests/cpp/sched/test_gated_lane.cpp; the protocol with the permit by tests/model/gate.cpp.
#pragma once

#include <array>
#include <bit>
#include <cstdint>

#include "tailrace/queue/edf_heap.hpp"
#include "tailrace/queue/push_stack.hpp"
#include "tailrace/sched/gate.hpp"
#include "tailrace/sched/item.hpp"

namespace tailrace::sched {

// The level of a run that has begun, from the service it has had. New work stands at kNewLevel: a short run goes on
// before new work begins, as a run that came back to the lane behind all that has arrived meanwhile would wait twice;
// a longer one goes behind it, the more so the longer it is.
constexpr std::uint8_t service_level(std::int64_t service_ns) noexcept {
  return service_ns < 4'000'000 ? 0 : service_ns < 32'000'000 ? 2 : service_ns < 256'000'000 ? 3 : 4;
}
// The service at which a run that has had this much asks again whether others go first.
constexpr std::int64_t next_level_ns(std::int64_t service_ns) noexcept {
  return service_ns < 4'000'000     ? 4'000'000
         : service_ns < 32'000'000  ? 32'000'000
         : service_ns < 256'000'000 ? 256'000'000
                                    : service_ns + 256'000'000;
}
static_assert(kNewLevel == 1 && kLevels == 5);

class GatedLane {
 public:
  // Each priority: what has a deadline, then the levels.
  static constexpr int kClasses = kPriorities * (1 + kLevels);
  static int class_of(const Item* item) noexcept {
    const int first = static_cast<int>(item->priority) * (1 + kLevels);
    return item->deadline_ns != base::kNever ? first : first + 1 + item->level;
  }

  void push(Item* item) noexcept {
    pushed_.fetch_add(1, base::relaxed);  // relaxed: a statistic
    stack_.push(item);
  }

  // The highest class first; every kAgeing-th item comes from the classes in turn, so that none starves.
  Item* pop() {
    if (Item* newest = stack_.take_all()) file(newest);
    if (waiting_ == 0) return nullptr;
    int c = std::countr_zero(waiting_);
    if (++taken_ % kAgeing == 0) {
      const std::uint32_t from_turn = waiting_ & (~std::uint32_t{0} << turn_);
      c = std::countr_zero(from_turn != 0 ? from_turn : waiting_);
      turn_ = (c + 1) % kClasses;
    }
    return take(static_cast<std::size_t>(c));
  }

  // Anybody's view: something is there, be it newly pushed or already filed by the last holder.
  bool has_items() const noexcept {
    // [G5] seq_cst: a parker asks this after it has shown itself; pairs with the store in `note_leftover`.
    return leftover_.load(base::seq_cst) || !stack_.empty();
  }

  // The holder, before a body and before it gives the permit up: tells the others what it has filed.
  void note_leftover() noexcept {
    const bool left = waiting_ != 0;
    // relaxed: the holder alone writes it, and the permit's word carries it to the next holder.
    if (left != leftover_.load(base::relaxed)) leftover_.store(left, base::seq_cst);  // [G5] seq_cst: as above
  }

  // How many wait, more or less. relaxed: a statistic
  std::int64_t depth() const noexcept {
    return static_cast<std::int64_t>(pushed_.load(base::relaxed) - popped_.load(base::relaxed));
  }

  Gate gate;

 private:
  static constexpr std::uint32_t kAgeing = 16;
  static_assert(kClasses <= 32);

  struct Fifo {
    Item* first = nullptr;
    Item* last = nullptr;
  };

  void file(Item* newest) {
    for (Item* oldest = queue::oldest_first(newest); oldest != nullptr;) {
      Item* item = oldest;
      oldest = item->next;
      item->next = nullptr;
      const auto c = static_cast<std::size_t>(class_of(item));
      waiting_ |= std::uint32_t{1} << c;
      if (c % (1 + kLevels) == 0) {
        by_deadline_[c / (1 + kLevels)].push(item, item->deadline_ns);
      } else {
        Fifo& list = lists_[c];
        (list.first == nullptr ? list.first : list.last->next) = item;
        list.last = item;
      }
    }
  }

  Item* take(std::size_t c) noexcept {
    popped_.store(popped_.load(base::relaxed) + 1, base::relaxed);  // relaxed (both): the holder alone writes it
    Item* item = nullptr;
    bool more = false;
    if (c % (1 + kLevels) == 0) {
      auto& heap = by_deadline_[c / (1 + kLevels)];
      item = heap.pop();
      more = !heap.empty();
    } else {
      item = lists_[c].first;
      lists_[c].first = item->next;
      more = item->next != nullptr;
    }
    if (!more) waiting_ &= ~(std::uint32_t{1} << c);
    return item;
  }

  alignas(base::kCacheLine) queue::PushStack<Item> stack_;  // pushers write it, and the next
  base::atomic<std::uint64_t> pushed_{0};
  alignas(base::kCacheLine) base::atomic<bool> leftover_{false};  // the holder writes all that follows
  base::atomic<std::uint64_t> popped_{0};
  std::uint32_t waiting_ = 0;  // a bit for each class that is not empty
  std::uint32_t taken_ = 0;
  int turn_ = 0;  // of the classes, for ageing
  std::array<Fifo, kClasses> lists_{};
  std::array<queue::EdfHeap<Item>, kPriorities> by_deadline_;
};

}  // namespace tailrace::sched
