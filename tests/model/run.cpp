// run.cpp -- a run's shared parts: join counters arm themselves, ready nodes go to one taker, the run ends once.
//
// Diamond is Run::work, step, fire and settle on the plan 0 -> {1, 2} -> 3, with a helper and a canceller.
#include <array>

#include "prove.hpp"
#include "tailrace/flow/ending.hpp"
#include "tailrace/flow/join.hpp"

namespace {

using namespace tailrace::model;
using tailrace::base::Outcome;
using Stack = tailrace::flow::ReadyStack<ModelAtomics>;
using Ending = tailrace::flow::Ending<ModelAtomics>;

// Three predecessors arrive at one node, which is then run again.
struct Joined {
  static constexpr int kThreads = 3;
  tailrace::flow::JoinCounter<ModelAtomics> counter;
  std::array<Var<int>, 4> results{};
  int last = 0;
  Joined() { counter.arm(3); }
  void thread(int i) {
    results[static_cast<std::size_t>(i)] = i;
    if (!counter.arrive(3)) return;
    check(++last == 1, "two were the last to arrive");
    check(results[1] + results[2] + results[3] == 6, "the last does not see the others' results");
  }
  void finally() {
    check(last == 1, "nobody was the last to arrive");
    for (int i = 0; i < 2; ++i) check(!counter.arrive(3), "the counter was not armed again");
    check(counter.arrive(3), "the counter was armed wrongly");
  }
};

// A stack without the tag: the same node may come back between a taker's look and its exchange.
class Untagged {
 public:
  using Link = Atomic<std::uint32_t>;
  static constexpr std::uint32_t kNone = UINT32_MAX;
  explicit Untagged(Link* links) : links_{links} {}
  void push(std::uint32_t top, std::uint32_t bottom) {
    std::uint32_t seen = head_.load(std::memory_order_relaxed);
    do links_[bottom].store(seen, std::memory_order_relaxed);
    while (!head_.compare_exchange_weak(seen, top, std::memory_order_release, std::memory_order_relaxed));
  }
  std::uint32_t pop() {
    std::uint32_t seen = head_.load(std::memory_order_acquire);
    while (seen != kNone) {
      const std::uint32_t below = links_[seen].load(std::memory_order_relaxed);
      if (head_.compare_exchange_weak(seen, below, std::memory_order_acquire, std::memory_order_acquire)) return seen;
    }
    return kNone;
  }

 private:
  Atomic<std::uint32_t> head_{kNone};
  Link* links_;
};

// One takes two nodes and puts the first back; another takes; a third puts a chain.
template <class Ready>
struct Stacked {
  static constexpr int kThreads = 3;
  std::array<typename Ready::Link, 4> links{};
  Ready ready{links.data()};
  std::array<Var<int>, 4> results{};
  std::array<int, 4> balance{};  // of each node: pushed and not yet taken

  void push(std::uint32_t node) {
    results[node] = static_cast<int>(node) + 10;
    ++balance[node];
    ready.push(node, node);
  }
  std::uint32_t pop() {
    const std::uint32_t node = ready.pop();
    if (node == Ready::kNone) return node;
    check(node < 4 && --balance[node] == 0, "a node was taken that was not there");
    check(results[node] == static_cast<int>(node) + 10, "what made the node ready is not seen");
    return node;
  }
  Stacked() {
    push(0);
    push(1);
  }
  void thread(int i) {
    if (i == 1) {
      const std::uint32_t first = pop();
      pop();
      if (first != Ready::kNone) push(first);
    } else if (i == 2) {
      pop();
    } else {
      push(2);
      pop();
    }
  }
  void finally() {
    while (pop() != Ready::kNone) {
    }
    for (const int b : balance) check(b == 0, "a node was lost");
  }
};

// Finish and cancel race; two wait for the end, one with a time limit.
enum class Bug : std::uint8_t { kNone, kAnnouncesFirst, kTwoEnds };

template <Bug kBug>
struct Ended {
  static constexpr int kThreads = 4;
  Ending ending;
  Var<int> result{0};
  Atomic<int> ends{0};

  void settle(Outcome outcome, int value) {
    if (kBug == Bug::kTwoEnds) {
      if (!ending.is_open()) return;
      ending.fix(outcome);
    } else if (!ending.fix(outcome)) {
      return;
    }
    ends.fetch_add(1, std::memory_order_relaxed);
    if (kBug == Bug::kAnnouncesFirst) ending.announce();
    result = value;
    if (kBug != Bug::kAnnouncesFirst) ending.announce();
  }
  void thread(int i) {
    if (i == 1) return settle(Outcome::kOk, 1);
    if (i == 2) return settle(Outcome::kCancelled, 2);
    if (i == 3 && !ending.wait_once(1)) return;
    while (!ending.announced()) ending.wait_once(-1);
    const int expected = ending.outcome() == Outcome::kOk ? 1 : 2;
    check(result == expected, "the result does not belong to the outcome");
  }
  void finally() { check(ends.peek() == 1, "the run ended twice"); }
};

struct Diamond {
  static constexpr int kThreads = 3;
  static constexpr std::uint32_t kNone = Stack::kNone;
  std::array<Stack::Link, 4> links{};
  Stack ready{links.data()};
  tailrace::flow::JoinCounter<ModelAtomics> join;
  Ending ending;
  Atomic<int> sinks{1};
  std::array<Var<int>, 4> values{};
  std::array<int, 4> fired{};
  int ended = 0, all_fired = 0;

  Diamond() { join.arm(2); }

  void settle(Outcome outcome) {
    if (!ending.fix(outcome)) return;
    ++ended;
    ending.announce();
  }
  std::uint32_t step(std::uint32_t node) {
    check(++fired[node] <= 1, "a node fired twice");
    if (ending.is_open()) {
      if (node == 0) values[0] = 1;
      if (node == 1 || node == 2) values[node] = values[0] + 1;
      if (node == 3) values[3] = values[1] + values[2];
    }
    if (node == 0) {
      ready.push(2, 2);
      return 1;
    }
    if (node != 3) return join.arrive(2) ? 3 : kNone;
    if (sinks.fetch_sub(1, std::memory_order_acq_rel) == 1) {
      settle(Outcome::kOk);
      ++all_fired;
    }
    return kNone;
  }
  void work(std::uint32_t node) {
    while (node != kNone || (node = ready.empty() ? kNone : ready.pop()) != kNone) node = step(node);
  }
  void thread(int i) {
    if (i == 1) {
      work(0);
      while (!ending.announced()) ending.wait_once(-1);
      if (ending.outcome() == Outcome::kOk) check(values[3] == 4, "the result is wrong or old");
    } else if (i == 2) {
      work(kNone);
    } else {
      settle(Outcome::kCancelled);
    }
  }
  void finally() {
    check(ended == 1, "the run did not end once");
    check(all_fired == 1, "a node never fired");
    for (const int f : fired) check(f == 1, "a node never fired");
    check(!join.arrive(2) && join.arrive(2), "the counter was not armed again");
  }
};

TEST(the_last_predecessor_and_only_it_starts_the_successor_and_arms_the_counter) {
  prove<Joined>("three predecessors", {.preemptions = 4, .stale_loads = 3});
}

TEST(a_ready_node_goes_to_one_taker_with_all_that_made_it_ready) {
  prove<Stacked<Stack>>("three participants", {.preemptions = 3, .stale_loads = 2});
  prove<Stacked<Stack>>("three participants", {.random = 50'000});
}

TEST(a_run_ends_once_and_wakes_everybody_who_waits) {
  prove<Ended<Bug::kNone>>("finish, cancel, two waiters", {.preemptions = 2, .stale_loads = 1});
  prove<Ended<Bug::kNone>>("finish, cancel, two waiters", {.random = 50'000});
}

TEST(every_node_of_a_diamond_fires_once_with_a_helper_and_a_canceller) {
  prove<Diamond>("a diamond", {.preemptions = 3, .stale_loads = 1});
  prove<Diamond>("a diamond", {.random = 50'000});
}

TEST(the_check_of_the_run_catches_its_mutants) {
  const Bounds small{.preemptions = 3, .stale_loads = 2};
  auto weakened = [&](const char* text, Order order) {
    Bounds bounds = small;
    bounds.mutants = {{text, order}};
    return bounds;
  };
  catches<Joined>("the one that is missing acquires nothing",
                  weakened("left_.load(base::acquire) != 1", std::memory_order_relaxed));
  catches<Joined>("an arrival releases nothing",
                  weakened("left_.fetch_sub(1, base::acq_rel)", std::memory_order_acquire));
  catches<Stacked<Stack>>("a push releases nothing",
                          weakened("next(seen, top), base::release", std::memory_order_relaxed));
  catches<Stacked<Stack>>("a taker acquires nothing at first",
                          weakened("seen = head_.load(base::acquire)", std::memory_order_relaxed));
  catches<Stacked<Untagged>>("the stack has no tag", small);
  catches<Ended<Bug::kAnnouncesFirst>>("the end is announced before its result is there", small);
  catches<Ended<Bug::kTwoEnds>>("the end is looked at and then fixed", small);
  catches<Ended<Bug::kNone>>("the end is announced acquire only",
                             weakened("word_.fetch_or(kAnnounced, base::acq_rel)", std::memory_order_acquire));
}

}  // namespace
