// plans.cpp -- native runs under real threads: random graphs, helpers, parts, failures, cancels; every node at most once.
#include <atomic>
#include <deque>
#include <memory>
#include <thread>
#include <vector>

#include "../cpp/flow/counted.hpp"
#include "../cpp/harness.hpp"
#include "tailrace/base/random.hpp"
#include "tailrace/flow/runner.hpp"

namespace {

using namespace tailrace;
using base::Outcome;
using base::Verdict;
using flow::NodeIndex;
using flow::Run;
using test::Counted;

int amount(int base) { return base * static_cast<int>(test::stress_factor()); }

// A random graph, some nodes of which spawn items, some fail when told to. A node looks whether those before it are done.
struct Graph {
  struct Step {
    Graph* graph;
    std::vector<NodeIndex> before;
    std::uint32_t items = 0;
    int pauses = 0;
    std::uint32_t times = 0;  // plain: that it is seen in order is what the run promises
  };

  Graph(NodeIndex nodes, std::uint64_t seed, bool with_parts, bool weighted) {
    base::Random random{seed};
    for (NodeIndex i = 0; i < nodes; ++i) {
      Step& step = steps.emplace_back();
      step.graph = this;
      step.items = with_parts && random.below(20) == 0 ? 1 + random.below(40) : 0;
      step.pauses = random.below(30) == 0 ? 200 : 0;
      builder.add(&Graph::body, &step);
      if (weighted) builder.weigh(i, random.below(100));
      for (NodeIndex k = i == 0 ? 0 : random.below(4); k > 0; --k) {
        const NodeIndex from = i - 1 - random.below(i < 40 ? i : 40);
        step.before.push_back(from);
        builder.edge(from, i);
      }
    }
  }
  static Verdict body(Run& run, NodeIndex node, void* arg, sched::Worker*) {
    Step& step = *static_cast<Step*>(arg);
    ++step.times;
    step.graph->ran.fetch_add(1, std::memory_order_relaxed);
    for (const NodeIndex other : step.before) {
      if (step.graph->steps[other].times != step.times) step.graph->out_of_order = true;
    }
    for (int i = 0; i < step.pauses; ++i) base::pause();
    if (step.graph->fails_at.load(std::memory_order_relaxed) == run.plan().node(node).given) return Verdict::kFailed;
    if (step.items == 0) return Verdict::kDone;
    return flow::Runner::spawn_each(run, node, step.items, &Graph::item, step.graph);
  }
  static Verdict item(Run&, NodeIndex, void* arg, sched::Worker*) {
    static_cast<Graph*>(arg)->items_ran.fetch_add(1, std::memory_order_relaxed);
    return Verdict::kDone;
  }
  std::int64_t items() const {
    std::int64_t sum = 0;
    for (const Step& step : steps) sum += step.items;
    return sum;
  }

  flow::PlanBuilder builder;
  std::deque<Step> steps;
  std::atomic<std::int64_t> ran{0}, items_ran{0};
  std::atomic<NodeIndex> fails_at{flow::kNoNode};
  std::atomic<bool> out_of_order{false};
};

TEST(random_graphs_with_parts_run_whole_in_every_way_of_sharing) {
  int graphs = 0;
  for (const flow::Help help : {flow::Help::kLearnt, flow::Help::kWhenAsked, flow::Help::kAtOnce}) {
    for (int round = 0; round < amount(20); ++round) {
      Graph graph{400, test::seed() + static_cast<std::uint64_t>(graphs++), round % 2 == 0, round % 3 == 0};
      const flow::Plan plan = graph.builder.compile();
      Counted blocks;
      {
        sched::Scheduler scheduler{{.workers = 2, .spin_ns = 2'000}};
        flow::Runner runner{plan, scheduler, {.source = &blocks, .help = help}};
        constexpr int kRuns = 40;
        for (int i = 0; i < kRuns; ++i) CHECK(runner.run() == Outcome::kOk);
        CHECK_EQ(graph.ran.load(), std::int64_t{kRuns} * 400);
        CHECK_EQ(graph.items_ran.load(), kRuns * graph.items());
      }
      CHECK(!graph.out_of_order);
      CHECK_EQ(blocks.live.load(), 0);
    }
  }
}

TEST(failures_leave_every_counter_armed_for_the_next_run) {
  base::Random random{test::seed()};
  for (const flow::Help help : {flow::Help::kLearnt, flow::Help::kWhenAsked, flow::Help::kAtOnce}) {
    Graph graph{300, test::seed(), true, false};
    const flow::Plan plan = graph.builder.compile();
    Counted blocks;
    {
      sched::Scheduler scheduler{{.workers = 2, .spin_ns = 2'000}};
      flow::Runner runner{plan, scheduler, {.source = &blocks, .help = help}};
      for (int i = 0; i < amount(200); ++i) {
        graph.fails_at = random.below(300);
        CHECK(runner.run() == Outcome::kFailed);
        scheduler.drain();  // so that no helper is still inside a body
        graph.fails_at = flow::kNoNode;
        for (auto& step : graph.steps) step.times = 0;
        graph.out_of_order = false;
        const std::int64_t before = graph.ran;
        CHECK(runner.run() == Outcome::kOk);
        CHECK_EQ(graph.ran.load() - before, 300);
        CHECK(!graph.out_of_order);
      }
    }
    CHECK_EQ(blocks.live.load(), 0);
  }
}

TEST(cancels_deadlines_and_waiters_race_and_every_run_ends_once_and_is_given_back) {
  struct Told {
    std::atomic<int> times{0};
  };
  std::atomic<std::int64_t> items{0};
  flow::PlanBuilder builder;
  const auto split = [](Run& run, NodeIndex node, void* arg, sched::Worker*) {
    return flow::Runner::spawn_each(
        run, node, 8,
        [](Run&, NodeIndex, void* count, sched::Worker*) {
          static_cast<std::atomic<std::int64_t>*>(count)->fetch_add(1, std::memory_order_relaxed);
          return Verdict::kDone;
        },
        arg);
  };
  for (NodeIndex i = 0; i < 30; ++i) {
    builder.add(split, &items);
    if (i > 0) builder.edge((i - 1) / 2, i);
  }
  const flow::Plan plan = builder.compile();
  Counted blocks;
  std::atomic<int> ended[base::kOutcomeCount] = {};
  const int each = amount(3'000);
  {
    sched::Scheduler scheduler{{.workers = 2, .spin_ns = 2'000}};
    flow::Runner runner{plan, scheduler, {.source = &blocks}};
    std::vector<std::thread> callers;
    for (int c = 0; c < 3; ++c) {
      callers.emplace_back([&, c] {
        base::Random random{test::seed() + static_cast<std::uint64_t>(c)};
        for (int i = 0; i < each; ++i) {
          int unused = 0;
          const double deadline_s = random.below(4) == 0 ? 1e-9 * random.below(30'000) : 1e9;
          auto handle = runner.start(unused, {.deadline_s = deadline_s});
          Told told;
          {
            const flow::OnCancel watch{handle.state(), [](void* arg) { ++static_cast<Told*>(arg)->times; }, &told};
            if (random.below(3) == 0) handle.cancel();
            if (random.below(3) == 0) handle.wait_for(1e-9 * random.below(5'000));
            if (handle.wait() == Outcome::kPending) CHECK(false);
          }
          const Outcome outcome = handle.outcome();
          if (told.times != (outcome == Outcome::kOk ? 0 : 1)) CHECK(false);
          ++ended[static_cast<int>(outcome)];
        }
      });
    }
    for (auto& caller : callers) caller.join();
    scheduler.drain();
  }
  CHECK_EQ(blocks.live.load(), 0);
  CHECK_EQ(ended[static_cast<int>(Outcome::kOk)] + ended[static_cast<int>(Outcome::kCancelled)] +
               ended[static_cast<int>(Outcome::kTimedOut)],
           3 * each);
  CHECK_EQ(ended[static_cast<int>(Outcome::kPending)] + ended[static_cast<int>(Outcome::kFailed)], 0);
}

}  // namespace
