// test_run.cpp -- a run does every node once, in order, whoever helps and however it ends.
#include <atomic>
#include <cstddef>
#include <deque>
#include <memory>
#include <thread>
#include <vector>

#include "../harness.hpp"
#include "tailrace/base/random.hpp"
#include "tailrace/flow/run.hpp"
#include "tailrace/flow/runner.hpp"

namespace {

using namespace tailrace;
using flow::NodeIndex;

// A random graph whose nodes note that all their predecessors came before them.
struct Graph {
  struct Step {
    Graph* graph;
    NodeIndex id;
    std::vector<NodeIndex> before;
    std::atomic<int> times{0};
    bool fails = false;
  };

  explicit Graph(NodeIndex nodes, std::uint64_t seed) {
    base::Random random{seed};
    for (NodeIndex i = 0; i < nodes; ++i) {
      Step& step = steps.emplace_back();
      step.graph = this;
      step.id = builder.add(&Graph::body, &step);
      for (NodeIndex k = i == 0 ? 0 : random.below(4); k > 0; --k) {
        const NodeIndex from = random.below(i);
        step.before.push_back(from);
        builder.edge(from, i);
      }
    }
  }
  static base::Verdict body(flow::Run&, NodeIndex, void* arg, sched::Worker*) {
    Step& step = *static_cast<Step*>(arg);
    const int times = step.times.load(std::memory_order_relaxed) + 1;
    for (const NodeIndex other : step.before) {
      if (step.graph->steps[other].times.load(std::memory_order_relaxed) != times) step.graph->out_of_order = true;
    }
    step.times.store(times, std::memory_order_relaxed);
    return step.fails ? base::Verdict::kFailed : base::Verdict::kDone;
  }

  flow::PlanBuilder builder;
  std::deque<Step> steps;
  std::atomic<bool> out_of_order{false};
};

struct Watcher final : flow::Host {
  void launch(flow::Run&, NodeIndex node) override { launched.push_back(node); }
  void offered(flow::Run&, NodeIndex, std::uint32_t, sched::Worker*) override {}
  void settled(flow::Run&, base::Outcome how) override {
    outcome = how;
    ++settled_times;
  }
  void fired(flow::Run& run) override {
    ++fired_times;
    run.release();
  }
  void released(flow::Run&) override { ++released_times; }
  std::vector<NodeIndex> launched;
  base::Outcome outcome = base::Outcome::kPending;
  int settled_times = 0, fired_times = 0, released_times = 0;
};

struct Block {
  Block(const flow::Plan& plan, flow::Host& host)
      : memory{std::make_unique<std::max_align_t[]>(flow::Run::memory_bytes(plan) / sizeof(std::max_align_t) + 1)},
        run{plan, host, memory.get()} {}
  std::unique_ptr<std::max_align_t[]> memory;
  flow::Run run;
};

TEST(a_run_does_every_node_once_and_its_block_serves_the_next_run) {
  Graph graph{200, test::seed()};
  const flow::Plan plan = graph.builder.compile();
  Watcher host;
  Block block{plan, host};
  for (int round = 1; round <= 3; ++round) {
    block.run.open(2);
    block.run.work(block.run.begin(nullptr), nullptr);
    CHECK(block.run.ending.announced());
    CHECK(block.run.ending.outcome() == base::Outcome::kOk);
    block.run.release();
    CHECK_EQ(host.settled_times, round);
    CHECK_EQ(host.fired_times, round);
    CHECK_EQ(host.released_times, round);
    for (auto& step : graph.steps) CHECK_EQ(step.times.load(), round);
  }
  CHECK(!graph.out_of_order);
}

TEST(a_failed_node_ends_the_run_skips_what_follows_and_leaves_the_block_armed) {
  Graph graph{100, test::seed()};
  graph.steps[30].fails = true;
  const flow::Plan plan = graph.builder.compile();
  Watcher host;
  Block block{plan, host};
  block.run.open(2);
  block.run.work(block.run.begin(nullptr), nullptr);
  CHECK(block.run.ending.outcome() == base::Outcome::kFailed);
  CHECK_EQ(host.fired_times, 1);
  block.run.release();
  graph.steps[30].fails = false;
  for (auto& step : graph.steps) step.times = 0;
  block.run.open(2);
  block.run.work(block.run.begin(nullptr), nullptr);
  CHECK(block.run.ending.outcome() == base::Outcome::kOk);
  for (auto& step : graph.steps) CHECK_EQ(step.times.load(), 1);
  CHECK(!graph.out_of_order);
}

TEST(a_run_that_was_cancelled_first_runs_no_body_but_fires_every_node) {
  Graph graph{50, test::seed()};
  const flow::Plan plan = graph.builder.compile();
  Watcher host;
  Block block{plan, host};
  block.run.open(2);
  CHECK(block.run.settle(base::Outcome::kCancelled));
  CHECK(!block.run.settle(base::Outcome::kTimedOut));
  block.run.work(block.run.begin(nullptr), nullptr);
  CHECK_EQ(host.fired_times, 1);
  CHECK(host.outcome == base::Outcome::kCancelled);
  for (auto& step : graph.steps) CHECK_EQ(step.times.load(), 0);
}

TEST(a_launched_node_is_finished_later_and_the_run_goes_on_from_there) {
  flow::PlanBuilder builder;
  int ran = 0;
  auto count = [&ran] { ++ran; };
  builder.add(count);
  builder.add(nullptr, nullptr, flow::Kind::kLaunch);
  builder.add(count);
  builder.edge(0, 1);
  builder.edge(1, 2);
  const flow::Plan plan = builder.compile();
  Watcher host;
  Block block{plan, host};
  block.run.open(2);
  block.run.work(block.run.begin(nullptr), nullptr);
  CHECK_EQ(ran, 1);
  CHECK_EQ(host.launched.size(), 1u);
  CHECK(!block.run.ending.announced());
  block.run.work(block.run.finish(host.launched[0], false, nullptr), nullptr);
  CHECK_EQ(ran, 2);
  CHECK(block.run.ending.outcome() == base::Outcome::kOk);
}

TEST(a_node_that_is_not_allowed_now_goes_back_for_another_participant) {
  flow::PlanBuilder builder;
  int ran = 0;
  auto count = [&ran] { ++ran; };
  builder.add(count);
  builder.add(count);
  builder.edge(0, 1);
  const flow::Plan plan = builder.compile();
  Watcher host;
  Block block{plan, host};
  block.run.open(2);
  int asked = 0;
  block.run.work_while(block.run.begin(nullptr), nullptr, [&](NodeIndex) { return ++asked == 1; });
  CHECK_EQ(ran, 1);
  CHECK(block.run.has_ready());
  block.run.work(flow::kNoNode, nullptr);
  CHECK_EQ(ran, 2);
}

TEST(a_runner_runs_a_graph_again_and_again_with_helpers) {
  Graph graph{300, test::seed() + 1};
  const flow::Plan plan = graph.builder.compile();
  sched::Scheduler scheduler{{.workers = 2}};
  {
    flow::Runner runner{plan, scheduler};
    for (int round = 1; round <= 200; ++round) {
      CHECK(runner.run() == base::Outcome::kOk);
      for (auto& step : graph.steps) CHECK_EQ(step.times.load(), round);
    }
    scheduler.drain();
  }
  CHECK(!graph.out_of_order);
}

TEST(a_runner_serves_several_threads_at_once) {
  std::atomic<int> ran{0};
  auto count = [&ran] { ++ran; };
  flow::PlanBuilder builder;
  for (int i = 0; i < 4; ++i) builder.add(count);
  builder.edge(0, 1);
  builder.edge(0, 2);
  builder.edge(1, 3);
  builder.edge(2, 3);
  const flow::Plan plan = builder.compile();
  sched::Scheduler scheduler{{.workers = 2}};
  {
    flow::Runner runner{plan, scheduler};
    std::vector<std::thread> callers;
    for (int c = 0; c < 3; ++c) {
      callers.emplace_back([&] {
        for (int i = 0; i < 300; ++i) CHECK(runner.run() == base::Outcome::kOk);
      });
    }
    for (auto& caller : callers) caller.join();
    scheduler.drain();
  }
  CHECK_EQ(ran.load(), 3 * 300 * 4);
}

}  // namespace
