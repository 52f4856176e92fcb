// fork_join.cpp -- real threads: steals, joins, sleeps and helps in quantities; every answer is checked.
#include "tailrace/sched/fork_join.hpp"

#include <atomic>
#include <stdexcept>
#include <thread>
#include <vector>

#include "../cpp/harness.hpp"
#include "tailrace/base/random.hpp"
#include "tailrace/sched/parallel.hpp"
#include "tailrace/sched/task_group.hpp"

namespace {

using namespace tailrace;
using sched::Place;

int amount(int count) { return static_cast<int>(static_cast<std::uint64_t>(count) * test::stress_factor()); }

TEST(the_split_deque_gives_each_item_once_to_owner_or_thief) {
  constexpr int kItems = 200'000;
  queue::SplitDeque<std::atomic<int>> deque{true, 64};
  std::vector<std::atomic<int>> times(kItems);
  std::atomic<bool> done{false};
  std::vector<std::thread> thieves;
  for (int t = 0; t < 2; ++t) {
    thieves.emplace_back([&] {
      while (!done.load()) {
        if (std::atomic<int>* item = nullptr; deque.steal(item) == queue::Steal::kTaken) item->fetch_add(1);
      }
    });
  }
  base::Random random{test::seed()};
  std::vector<std::pair<std::atomic<int>**, std::atomic<int>*>> pushed;
  for (int next = 0; next < kItems || !pushed.empty();) {
    if (next < kItems && (pushed.empty() || random.below(2) == 0)) {
      auto* item = &times[static_cast<std::size_t>(next++)];
      auto** slot = deque.push(item);
      if (deque.must_share()) deque.share();
      pushed.emplace_back(slot, item);
      continue;
    }
    const auto [slot, item] = pushed.back();
    pushed.pop_back();
    if (deque.is_mine(slot, item)) {
      deque.drop(slot);
      item->fetch_add(1);
    } else if (deque.take([item = item](const std::atomic<int>* other) { return other == item; }) != nullptr) {
      item->fetch_add(1);
    }
  }
  done = true;
  for (auto& thief : thieves) thief.join();
  for (auto& one : times) {
    if (one.load() != 1) CHECK_EQ(one.load(), 1);
  }
}

std::int64_t fib(Place& place, int n) {
  if (n < 2) return n;
  std::int64_t a = 0, b = 0;
  sched::fork2(place, [&](Place& here) { a = fib(here, n - 1); }, [&](Place& here) { b = fib(here, n - 2); });
  return a + b;
}

// No spinning: every wait for a stolen child becomes a sleep.
TEST(callers_and_workers_fork_at_once_and_every_answer_is_right) {
  for (const std::int64_t spin_ns : {0, 2'000}) {
    sched::Scheduler scheduler{{.workers = 3, .spin_ns = spin_ns}};
    std::vector<std::thread> callers;
    for (int c = 0; c < 3; ++c) {
      callers.emplace_back([&] {
        for (int i = 0; i < amount(150); ++i) {
          const auto answer = sched::fork_join(scheduler, [](Place& place) { return fib(place, 15); });
          if (answer != 610) CHECK_EQ(answer, 610);
        }
      });
    }
    for (auto& caller : callers) caller.join();
  }
}

// A random tree: forks, loops, groups and exceptions inside each other. The count of its nodes depends on the seed only.
struct Tree {
  std::atomic<std::int64_t> visited{0}, thrown{0};

  void grow(Place& place, std::uint64_t seed, int depth) {
    visited.fetch_add(1, std::memory_order_relaxed);
    base::Random random{seed};
    if (depth == 0) return;
    const std::uint64_t left = random.next(), right = random.next();
    switch (random.below(4)) {
      case 0:
        sched::fork2(
            place, [&](Place& here) { grow(here, left, depth - 1); },
            [&](Place& here) { grow(here, right, depth - 1); });
        break;
      case 1:
        sched::fork_n(place, random.below(4), [&](Place& here, std::size_t i) { grow(here, left + i, depth - 1); });
        break;
      case 2: {
        sched::TaskGroup group{place};
        for (std::uint32_t i = random.below(5); i > 0; --i) {
          group.spawn([this, left, i, depth](Place& here) { grow(here, left + i, depth - 1); });
        }
        grow(place, right, depth - 1);
        group.wait();
        break;
      }
      default:
        try {
          sched::fork2(
              place, [&](Place& here) { grow(here, left, depth - 1), throw std::runtime_error{"left"}; },
              [&](Place& here) { grow(here, right, depth - 1), throw std::runtime_error{"right"}; });
        } catch (const std::runtime_error&) {
          thrown.fetch_add(1, std::memory_order_relaxed);
        }
    }
  }
};

TEST(random_trees_of_forks_loops_groups_and_exceptions_visit_the_same_nodes_on_any_number_of_threads) {
  for (int round = 0; round < amount(20); ++round) {
    const std::uint64_t seed = test::seed() + static_cast<std::uint64_t>(round);
    sched::Scheduler scheduler{{.workers = 1 + round % 4, .spin_ns = round % 3 * 1'000, .seed = seed}};
    Tree serial, parallel;
    sched::fork_join(scheduler, [&](Place& place) { serial.grow(place, seed, 13); }, sched::With::kNobody);
    sched::fork_join(scheduler, [&](Place& place) { parallel.grow(place, seed, 13); });
    CHECK_EQ(parallel.visited.load(), serial.visited.load());
    CHECK_EQ(parallel.thrown.load(), serial.thrown.load());
  }
}

TEST(groups_are_cancelled_while_their_tasks_are_stolen_and_each_task_runs_or_is_skipped) {
  sched::Scheduler scheduler{{.workers = 2, .spin_ns = 1'000}};
  for (int round = 0; round < amount(300); ++round) {
    sched::fork_join(scheduler, [&](Place& place) {
      std::atomic<std::uint64_t> ran{0};
      std::atomic<int> called{0};
      sched::TaskGroup group{place};
      group.on_cancel([&called] { ++called; });
      for (int i = 0; i < 300; ++i) {
        group.spawn([&, i] {
          ++ran;
          if (i == round % 300) group.cancel();
        });
      }
      group.on_cancel([&called] { ++called; });
      group.wait();
      const std::uint64_t all = ran.load() + group.skipped();
      if (all != 300) CHECK_EQ(all, 300u);
      if (called.load() != (group.cancelled() ? 2 : 0)) CHECK_EQ(called.load(), 2);
    });
  }
}

}  // namespace
