// split_deque.cpp -- the split deque: every item is taken once, and who asked for work is not forgotten while it sleeps.
#include "tailrace/queue/split_deque.hpp"

#include <array>

#include "prove.hpp"
#include "tailrace/sched/idle.hpp"

namespace {

using namespace tailrace::model;
using tailrace::queue::Steal;

struct Thing {
  Var<int> payload{0};
  int times = 0;
};

enum class Bug : std::uint8_t { kNone, kTrustsTheSlot, kNotifyFirst };

struct Taken {
  tailrace::queue::SplitDeque<Thing, ModelAtomics> deque{true, 2, 2};
  std::array<Thing, 4> things;

  Thing** push(std::size_t i) {
    things[i].payload = static_cast<int>(i) + 1;
    Thing** const slot = deque.push(&things[i]);
    if (deque.must_share()) deque.share();
    return slot;
  }
  void ran(Thing* thing) {
    check(thing->payload == static_cast<int>(thing - things.data()) + 1, "the item's content is old");
    check(++thing->times == 1, "an item was taken twice");
  }
  void take_back(Thing** slot, std::size_t i) {
    Thing* const thing = &things[i];
    if (slot != nullptr && deque.is_mine(slot, thing)) {
      deque.drop(slot);
      ran(thing);
    } else if (deque.take([thing](const Thing* other) { return other == thing; }) != nullptr) {
      ran(thing);
    }
  }
  void steal(int tries) {
    for (int i = 0; i < tries; ++i) {
      if (Thing* thing = nullptr; deque.steal(thing) == Steal::kTaken) ran(thing);
    }
  }
  void finally() {
    while (Thing* thing = deque.take([](const Thing*) { return true; })) ran(thing);
    check(deque.nothing_mine() && deque.nothing_public(), "it says that something is left");
    for (const Thing& thing : things) check(thing.times == 1 || thing.payload == 0, "an item was lost");
  }
};

// Two nested forks taken back in turn, under two thieves. With kTrustsTheSlot the owner does not ask what is public.
template <Bug kBug = Bug::kNone>
struct Nested : Taken {
  static constexpr int kThreads = 3;
  void thread(int i) {
    if (i > 1) return steal(1);
    Thing** const outer = push(0);
    Thing** const inner = push(1);
    if (kBug == Bug::kTrustsTheSlot) {
      deque.drop(inner);
      ran(&things[1]);
    } else {
      take_back(inner, 1);
    }
    take_back(outer, 0);
  }
};

// Both are public already, and the owner takes back the newer.
struct Shared : Taken {
  static constexpr int kThreads = 2;
  Shared() {
    for (std::size_t i = 0; i < 2; ++i) {
      push(i);
      deque.share();
    }
  }
  void thread(int i) {
    if (i > 1) return steal(2);
    take_back(nullptr, 1);
    take_back(nullptr, 0);
  }
};

// A stack of two slots overflows into the public end; then one that is not the newest is taken back.
struct Full : Taken {
  static constexpr int kThreads = 2;
  void thread(int i) {
    if (i > 1) return steal(2);
    push(0);
    Thing** const second = push(1);
    push(2);
    push(3);
    take_back(second, 1);
  }
};

// What is left of a range is changed in place while it is private, and shared with its last value.
struct InPlace : Taken {
  static constexpr int kThreads = 2;
  void thread(int i) {
    if (i > 1) return steal(2);
    Thing** const slot = push(0);
    for (int k = 0; k < 2 && deque.is_mine(slot, &things[0]); ++k) {
      things[0].payload = 7;
      things[0].payload = 1;
      if (deque.must_share()) deque.share();
    }
    take_back(slot, 0);
  }
};

// A worker that sleeps has asked: nothing public is left, and the next push will be shared.
template <Bug kBug = Bug::kNone>
struct Sleeper {
  static constexpr int kThreads = 2;
  tailrace::queue::SplitDeque<Thing, ModelAtomics> deque{true, 4, 2};
  tailrace::sched::BasicIdle<ModelAtomics> idle{1};
  std::array<Thing, 3> things;

  bool sees() {
    deque.want();
    return !deque.nothing_public();
  }
  void thread(int i) {
    if (i == 2) {
      for (Thing& thing : things) {
        deque.push(&thing);
        if (!deque.must_share()) continue;
        if (kBug == Bug::kNotifyFirst) idle.notify();
        deque.share();
        if (kBug != Bug::kNotifyFirst) idle.notify();
      }
      return;
    }
    for (bool searching = false;;) {
      Thing* thing = nullptr;
      if (deque.steal(thing) == Steal::kTaken) {
        if (searching && idle.end_search() && sees()) idle.notify();
        searching = false;
        continue;
      }
      if (searching) idle.end_search();
      idle.prepare_park(0);
      if (sees()) {
        idle.cancel_park(0);
        searching = true;
      } else {
        searching = idle.park(0, -1);
      }
    }
  }
  bool may_sleep() const { return true; }
  void finally() {
    check(deque.nothing_public(), "something is public while the worker sleeps");
    deque.push(&things[0]);
    check(deque.must_share(), "the worker sleeps and the next push will not be shared");
  }
};

TEST(the_split_deque_gives_each_item_once) {
  prove<Nested<>>("nested forks, two thieves", {.preemptions = 3, .stale_loads = 2});
  prove<Nested<>>("nested forks, two thieves", {.random = 50'000});
  prove<Shared>("taken back from the public end, a thief", {.preemptions = 4, .stale_loads = 3});
  prove<Full>("overflow into the public end, a thief", {.preemptions = 3, .stale_loads = 2});
  prove<InPlace>("a range changed in place, a thief", {.preemptions = 4, .stale_loads = 2});
}

TEST(a_worker_that_sleeps_has_asked_for_the_next_push) {
  prove<Sleeper<>>("an owner and a worker", {.preemptions = 3, .stale_loads = 2});
  prove<Sleeper<>>("an owner and a worker", {.random = 50'000});
}

TEST(the_check_of_the_split_deque_catches_its_mutants) {
  const Bounds small{.preemptions = 3, .stale_loads = 2};
  catches<Nested<Bug::kTrustsTheSlot>>("the owner takes its slot without a look at what is public", small);
  catches<InPlace>("an item is published relaxed",
                   {.mutants = {{"bottom_.store(b + 1, base::seq_cst)", std::memory_order_relaxed}}});
  catches<Shared>("what the owner takes back is claimed with a release alone",
                  {.mutants = {{"bottom_.store(b, base::seq_cst)", std::memory_order_release}}});
  catches<Sleeper<Bug::kNotifyFirst>>("notifies before it shares", small);
}

}  // namespace
