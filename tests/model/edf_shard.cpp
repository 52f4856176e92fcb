// edf_shard.cpp -- a shard of the deadline lane: each item is taken once, the earliest first, and none is left while a
// worker sleeps that could have it, although nobody waits for the guard.
//
// The shard and idle are the shipped ones; the worker is Worker::take_deadline and Worker::wait_for_work with the spinning
// cut to one look.
#include "tailrace/sched/edf_shard.hpp"

#include <array>

#include "prove.hpp"
#include "tailrace/sched/idle.hpp"

namespace {

using namespace tailrace::model;

enum class Bug : std::uint8_t { kNone, kNoLookAfterRelease };

struct Item {
  Var<Item*> next{nullptr};
  std::int64_t deadline_ns = 0;
  Var<int> content{0};
  int times = 0;
  bool endless = false;
};

// The shipped heap, beside a field that everybody touches who changes it: two at once are a data race.
struct Heap : tailrace::queue::EdfHeap<Item> {
  void push(Item* item, std::int64_t deadline_ns) {
    touched = 1;
    tailrace::queue::EdfHeap<Item>::push(item, deadline_ns);
  }
  Item* pop() {
    touched = 1;
    return tailrace::queue::EdfHeap<Item>::pop();
  }
  Var<int> touched{0};
};
using Shard = tailrace::sched::BasicEdfShard<Item, ModelAtomics, Heap>;

template <Bug kBug>
struct Lane {
  Shard shard;
  tailrace::sched::BasicIdle<ModelAtomics> idle{2};
  std::array<Item, 3> items{};
  int left = 0;

  void push(std::size_t i, std::int64_t deadline_ns) {
    items[i].content = 7;
    items[i].deadline_ns = deadline_ns;
    shard.push(&items[i]);
    if (shard.can_take()) idle.notify();
  }
  Item* take() {
    Item* late = nullptr;
    Item* item = shard.take(0, tailrace::base::kNever, &late);
    check(late == nullptr, "nothing is late here");
    if (kBug != Bug::kNoLookAfterRelease && item != nullptr && shard.can_take()) idle.notify();
    return item;
  }
  void work(int id) {
    for (bool searching = false;;) {
      if (Item* item = take()) {
        if (searching) {
          searching = false;
          if (idle.end_search() && shard.can_take()) idle.notify();
        }
        check(item->content == 7, "the item's content is old");
        check(++item->times == 1, "an item was taken twice");
        --left;
        if (item->endless) return;
        continue;
      }
      if (!searching) searching = idle.begin_search(2);
      if (searching) {
        if (shard.can_take()) continue;
        searching = false;
        idle.end_search();
      }
      idle.prepare_park(id);
      if (shard.can_take()) {
        idle.cancel_park(id);
        searching = true;
        continue;
      }
      searching = idle.park(id, -1);
    }
  }
  bool may_sleep() const { return left == 0; }
  void finally() { check(left == 0, "an item was lost"); }
};

// A producer of two items and two workers; the body of the first may have no end.
template <Bug kBug = Bug::kNone, bool kEndless = true>
struct Pushed : Lane<kBug> {
  static constexpr int kThreads = 3;
  Pushed() {
    this->left = 2;
    this->items[0].endless = kEndless;
  }
  void thread(int i) {
    if (i < 3) return this->work(i - 1);
    this->push(0, 10);
    this->push(1, 20);
  }
};

// Two items are there; who is first takes the earlier one, whichever went in first.
struct Ordered : Lane<Bug::kNone> {
  static constexpr int kThreads = 2;
  std::array<Item*, 2> got{};
  Ordered() {
    left = 2;
    push(0, 20);
    push(1, 10);
  }
  void thread(int i) {
    Item* late = nullptr;
    got[static_cast<std::size_t>(i - 1)] = shard.take(0, tailrace::base::kNever, &late);
  }
  bool may_sleep() const { return true; }
  void finally() {
    check(got[0] == &items[1] || got[1] == &items[1], "the earlier deadline was passed over");
    check(got[0] != got[1], "an item was taken twice");
  }
};

// A stop sweeps while a worker takes: each item ends once, by whoever comes last.
struct Swept {
  static constexpr int kThreads = 3;
  Shard shard;
  Atomic<bool> stopping{false};
  std::array<Item, 2> items{};

  void end(Item* item) { check(++item->times == 1, "an item ended twice"); }
  void sweep() {
    while (shard.can_take()) {
      for (Item* item = shard.take_everything(); item != nullptr;) {
        Item* next = item->next;
        end(item);
        item = next;
      }
    }
  }
  void thread(int i) {
    if (i == 1) {
      Item* late = nullptr;
      if (!stopping.load(std::memory_order_acquire)) {
        if (Item* item = shard.take(0, tailrace::base::kNever, &late)) end(item);
      }
    } else if (i == 2) {
      stopping.store(true, std::memory_order_seq_cst);
    } else {
      for (Item& item : items) {
        item.deadline_ns = 5;
        shard.push(&item);
        if (stopping.load(std::memory_order_seq_cst)) sweep();
      }
    }
    if (stopping.load(std::memory_order_seq_cst)) sweep();
  }
  void finally() {
    sweep();
    for (const Item& item : items) check(item.times == 1, "an item neither ran nor was completed");
  }
};

TEST(an_item_with_a_deadline_is_taken_once_and_waits_for_nobody_while_a_worker_sleeps) {
  prove<Pushed<>>("a producer, two workers, an endless body", {.preemptions = 2, .stale_loads = 1});
  prove<Pushed<Bug::kNone, false>>("a producer, two workers", {.preemptions = 2, .stale_loads = 1});
  prove<Pushed<>>("a producer, two workers, an endless body", {.random = 100'000});
  prove<Ordered>("two takers and two deadlines", {.preemptions = 4, .stale_loads = 2});
  prove<Swept>("a stop in the middle", {.preemptions = 3, .stale_loads = 1});
}

TEST(the_check_of_the_deadline_shard_catches_its_mutants) {
  const Bounds small{.preemptions = 2, .stale_loads = 1};
  auto weakened = [&](const char* text, Order order) {
    Bounds bounds = small;
    bounds.mutants = {{text, order}};
    return bounds;
  };
  auto guard_off = [&] {
    Bounds bounds = small;
    bounds.mutants = {{"if (guard_.load(base::seq_cst)) return false", std::memory_order_seq_cst, 1}};
    return bounds;
  };
  catches<Pushed<Bug::kNoLookAfterRelease>>("no look after the guard is let go", small);
  catches<Pushed<>>("a look that always finds the guard taken", guard_off());
  catches<Ordered>("the guard acquires nothing",
                   weakened("!guard_.exchange(true, base::seq_cst)", std::memory_order_relaxed));
  // With release it is not caught: the look that follows begins with the same word, which C++20 orders. x86 may forward
  // the store to that look before others see it, so it stays seq_cst.
  catches<Pushed<>>("the guard is let go relaxed",
                    weakened("guard_.store(false, base::seq_cst)", std::memory_order_relaxed));
  catches<Pushed<>>("the look at the guard is relaxed",
                    weakened("if (guard_.load(base::seq_cst)) return false", std::memory_order_relaxed));
}

}  // namespace
