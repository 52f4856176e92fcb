// paths.cpp -- the single-thread paths whose instructions are counted.
//
// Closures and timers go through a virtual scheduler, which has no threads and takes the shipped code; a runner that
// invites nobody leaves its scheduler's threads unmade.
#include <vector>

#include "gate.hpp"
#include "tailrace/flow/runner.hpp"
#include "tailrace/queue/inject_lane.hpp"
#include "tailrace/queue/steal_deque.hpp"
#include "tailrace/sched/fork_join.hpp"
#include "tailrace/sched/scheduler.hpp"

namespace {

using namespace tailrace;

constexpr int kRounds = 100;

GATE_PATH(deque_push_pop, "push and pop of one item by the owner of a deque") {
  queue::StealDeque<std::uintptr_t> deque;
  std::uintptr_t sum = 0;
  meter.count(kRounds * 64, [&] {
    for (int round = 0; round < kRounds; ++round) {
      for (std::uintptr_t i = 1; i <= 64; ++i) deque.push(i);
      for (std::uintptr_t item = 0; deque.pop(item);) sum += item;
    }
  });
  gate::require(sum == 2 * kRounds * 64 * 65 / 2, "every item that is pushed is popped once");
}

GATE_PATH(deque_push_steal, "push of one item, and a steal that wins it") {
  queue::StealDeque<std::uintptr_t> deque;
  std::uintptr_t sum = 0;
  meter.count(kRounds * 64, [&] {
    for (int round = 0; round < kRounds; ++round) {
      for (std::uintptr_t i = 1; i <= 64; ++i) deque.push(i);
      for (std::uintptr_t item = 0; deque.steal(item) == queue::Steal::kTaken;) sum += item;
    }
  });
  gate::require(sum == 2 * kRounds * 64 * 65 / 2, "every item that is pushed is stolen once");
}

GATE_PATH(lane_push_claim, "push of one cell into an injection lane, claimed in batches of 64") {
  const auto lane = std::make_unique<queue::InjectLane<1024>>();
  queue::Cell out[64];
  std::uint64_t sum = 0;
  meter.count(kRounds * 64, [&] {
    for (int round = 0; round < kRounds; ++round) {
      for (std::uint64_t i = 1; i <= 64; ++i) gate::require(lane->try_push({i}), "the lane has room for 64");
      const std::size_t claimed = lane->claim(out, 64);
      for (std::size_t i = 0; i < claimed; ++i) sum += out[i][0];
    }
  });
  gate::require(sum == 2 * kRounds * 64 * 65 / 2, "every cell that is pushed is claimed once");
}

GATE_PATH(submit_run, "submit of one closure until it has run, on one thread, 64 at a time") {
  sched::Scheduler scheduler{{.is_virtual = true}};
  std::uint64_t ran = 0;
  meter.count(kRounds * 64, [&] {
    for (int round = 0; round < kRounds; ++round) {
      for (int i = 0; i < 64; ++i) scheduler.submit([&ran](sched::Worker*) { ++ran; });
      scheduler.drain();
    }
  });
  gate::require(ran == 2 * kRounds * 64, "every closure runs once");
}

GATE_PATH(timer_arm_cancel, "arm and cancel of one timer, among 100 that are armed") {
  struct Bell final : sched::Timer {
    void fire() override { gate::require(false, "no timer is due"); }
  };
  sched::Scheduler scheduler{{.is_virtual = true}};
  std::vector<Bell> others(100);
  std::int64_t at = 1'000'000;
  for (Bell& bell : others) scheduler.arm(bell, at += 1'000'000);
  Bell bell;
  int cancelled = 0;
  meter.count(kRounds * 10, [&] {
    for (int i = 0; i < kRounds * 10; ++i) {
      scheduler.arm(bell, 20'500'000 + (i % 50) * 1'000'000);
      cancelled += scheduler.cancel(bell) ? 1 : 0;
    }
  });
  gate::require(cancelled == 2 * kRounds * 10, "a timer that has not fired can be cancelled");
  for (Bell& other : others) scheduler.cancel(other);
}

// Runs of one plan whose every node is one increment, all on this thread.
void count_runs(gate::Meter& meter, int nodes, const std::vector<std::pair<flow::NodeIndex, flow::NodeIndex>>& edges,
                int operations_a_run, int runs) {
  std::uint64_t ran = 0;
  auto step = [&ran] { ++ran; };
  flow::PlanBuilder builder;
  for (int i = 0; i < nodes; ++i) builder.add(step);
  for (const auto& [before, after] : edges) builder.edge(before, after);
  const flow::Plan plan = builder.compile();
  sched::Scheduler scheduler{{.workers = 1}};
  flow::Runner runner{plan, scheduler, {.invite_workers = false}};
  meter.count(runs * operations_a_run, [&] {
    for (int i = 0; i < runs; ++i) gate::require(runner.run() == base::Outcome::kOk, "a run without errors ends ok");
  });
  gate::require(ran == 2u * static_cast<unsigned>(runs * nodes), "every node runs once a run");
}

GATE_PATH(fork2, "one fork2 of fib(16), by one thread") {
  struct Fib {
    static int of(sched::Place& place, int n) {
      if (n < 2) return n;
      int one = 0, other = 0;
      sched::fork2(
          place, [&](sched::Place& here) { one = of(here, n - 1); },
          [&](sched::Place& here) { other = of(here, n - 2); });
      return one + other;
    }
  };
  constexpr int kForks = 1596;  // of fib(16): fib(17) - 1
  sched::Scheduler scheduler{{.workers = 1}};
  sched::fork_join(
      scheduler,
      [&](sched::Place& place) {
        int fib = 0;
        meter.count(kForks, [&] { fib = Fib::of(place, 16); });
        gate::require(fib == 987, "fib(16) is 987");
      },
      sched::With::kNobody);
}

GATE_PATH(chain_node, "one node of a chain of 1000, caller helps") {
  std::vector<std::pair<flow::NodeIndex, flow::NodeIndex>> edges;
  for (flow::NodeIndex i = 0; i < 999; ++i) edges.emplace_back(i, i + 1);
  count_runs(meter, 1000, edges, 1000, 10);
}

GATE_PATH(diamond_run, "one run of a 10-node diamond, caller helps") {
  std::vector<std::pair<flow::NodeIndex, flow::NodeIndex>> edges;
  for (flow::NodeIndex i = 1; i <= 8; ++i) {
    edges.emplace_back(0, i);
    edges.emplace_back(i, 9);
  }
  count_runs(meter, 10, edges, 1, 640);
}

}  // namespace
