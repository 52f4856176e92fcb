// steal_deque.cpp -- the Chase-Lev deque: every item is taken exactly once, and what was done before its push is seen.
#include "tailrace/queue/steal_deque.hpp"

#include <array>

#include "prove.hpp"

namespace {

using namespace tailrace::model;
using tailrace::queue::Steal;

constexpr int kItems = 4;

struct Taken {
  tailrace::queue::StealDeque<int, ModelAtomics> deque{2};
  std::array<Var<int>, kItems + 1> payload{};
  std::array<int, kItems + 1> times{};

  void push(int item) {
    payload[static_cast<std::size_t>(item)] = item;
    deque.push(item);
  }
  void take(int item) {
    check(item >= 1 && item <= kItems, "an item that nobody pushed");
    check(payload[static_cast<std::size_t>(item)] == item, "the item's content is old");
    check(++times[static_cast<std::size_t>(item)] == 1, "an item was taken twice");
  }
  void pop() {
    if (int item = 0; deque.pop(item)) take(item);
  }
  void steal(int tries) {
    for (int i = 0; i < tries; ++i) {
      if (int item = 0; deque.steal(item) == Steal::kTaken) take(item);
    }
  }
  void all_taken(int pushed) {
    for (int item = 0; deque.pop(item);) take(item);
    check(deque.empty(), "it says that it is not empty");
    for (int i = 1; i <= pushed; ++i) check(times[static_cast<std::size_t>(i)] == 1, "an item was lost");
  }
};

// Two items, two pops, two thieves: the race for the last one.
struct LastItem : Taken {
  static constexpr int kThreads = 3;
  LastItem() { push(1); }
  void thread(int i) {
    if (i > 1) return steal(1);
    push(2);
    pop();
    pop();
  }
  void finally() { all_taken(2); }
};

// The owner takes the last item and pushes the next while thieves hold old indices.
struct Refilled : Taken {
  static constexpr int kThreads = 3;
  Refilled() { push(1); }
  void thread(int i) {
    if (i > 1) return steal(2);
    pop();
    push(2);
    pop();
    push(3);
  }
  void finally() { all_taken(3); }
};

// A ring of two grows to four under a thief that has already read its indices.
struct Grown : Taken {
  static constexpr int kThreads = 3;
  Grown() {
    push(1);
    push(2);
  }
  void thread(int i) {
    if (i > 1) return steal(2);
    push(3);
    push(4);
    pop();
  }
  void finally() { all_taken(4); }
};

// A slot is used again after the ring has gone round.
struct Round : Taken {
  static constexpr int kThreads = 2;
  Round() {
    push(1);
    push(2);
  }
  void thread(int i) {
    if (i > 1) return steal(3);
    push(3);
    push(4);
  }
  void finally() { all_taken(4); }
};

TEST(the_deque_gives_each_item_once_when_owner_and_thieves_race_for_the_last) {
  prove<LastItem>("owner and two thieves, last item", {.preemptions = 4, .stale_loads = 3});
  prove<Refilled>("owner and two thieves, refilled", {.preemptions = 3, .stale_loads = 2});
  prove<Refilled>("owner and two thieves, refilled", {.random = 50'000});
}

TEST(the_deque_gives_each_item_once_while_it_grows) {
  prove<Grown>("growth under two thieves", {.preemptions = 3, .stale_loads = 2});
  prove<Round>("growth and wrap-around under one thief", {.preemptions = 4, .stale_loads = 3});
}

TEST(the_check_of_the_deque_catches_its_mutants) {
  catches<LastItem>("pop hides its claim: bottom_.store(b) released",
                    {.mutants = {{"bottom_.store(b, base::seq_cst)", std::memory_order_release}}});
  catches<LastItem>("pop reads top_ acquire",
                    {.mutants = {{"std::int64_t t = top_.load(base::seq_cst);", std::memory_order_acquire}}});
  catches<LastItem>("a thief reads bottom_ acquire",
                    {.mutants = {{"t >= bottom_.load(base::seq_cst)", std::memory_order_acquire}}});
  catches<Refilled>("push publishes relaxed",
                    {.mutants = {{"bottom_.store(b + 1, base::seq_cst)", std::memory_order_relaxed}}});
  catches<Grown>("a grown ring is published relaxed",
                 {.mutants = {{"ring_.store(rings_.back().get(), base::release)", std::memory_order_relaxed}}});
  catches<Grown>("a thief reads the ring relaxed",
                 {.mutants = {{"ring_.load(base::acquire)", std::memory_order_relaxed}}});
}

}  // namespace
