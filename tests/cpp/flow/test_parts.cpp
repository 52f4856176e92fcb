// test_parts.cpp -- parts of native runs: a node runs items, or a plan, and its successors wait for all of it.
#include <atomic>
#include <latch>
#include <memory>
#include <thread>
#include <vector>

#include "../harness.hpp"
#include "counted.hpp"
#include "tailrace/flow/runner.hpp"

namespace {

using namespace tailrace;
using base::Outcome;
using base::Verdict;
using flow::NodeIndex;
using flow::Run;
using test::Counted;
using test::counted;
using test::kEvery;

// Parts: a node runs n items, or a plan, as a part of itself.
struct Parted {
  std::uint32_t items = 0;
  int depth = 0;
  int fails_at = -1;
  std::vector<int> results;
  std::atomic<int> bodies{0};
  std::atomic<int> after{0};
  int bodies_before_after = 0;

  static Verdict split(Run& run, NodeIndex node, void* arg, sched::Worker*) {
    return flow::Runner::spawn_each(run, node, static_cast<Parted*>(arg)->items, &item, arg);
  }
  static Verdict item(Run& run, NodeIndex node, void* arg, sched::Worker*) {
    auto& parted = *static_cast<Parted*>(arg);
    const NodeIndex given = run.plan().node(node).given;
    ++parted.bodies;
    if (static_cast<int>(given) == parted.fails_at) return Verdict::kFailed;
    parted.results[given] = static_cast<int>(given) * 2;
    return Verdict::kDone;
  }
  static Verdict then(Run&, NodeIndex, void* arg, sched::Worker*) {
    auto& parted = *static_cast<Parted*>(arg);
    ++parted.after;
    parted.bodies_before_after = parted.bodies;
    return Verdict::kDone;
  }
  // Two of itself at each level.
  static Verdict nest(Run& run, NodeIndex node, void* arg, sched::Worker*) {
    auto& parted = *static_cast<Parted*>(arg);
    ++parted.bodies;
    int level = 0;
    for (const Run* up = run.parent(); up != nullptr; up = up->parent()) ++level;
    return level < parted.depth ? flow::Runner::spawn_each(run, node, 2, &nest, arg) : Verdict::kDone;
  }
};

flow::Plan split_plan(Parted& parted, flow::Body body) {
  flow::PlanBuilder builder;
  builder.add(body, &parted);
  for (int i = 1; i <= 3; ++i) {
    const NodeIndex node = builder.add(&Parted::then, &parted);
    builder.edge(i == 1 ? 0 : node - 1, node);
  }
  return builder.compile();
}

TEST(a_node_runs_a_body_for_each_item_and_its_successors_wait_for_all) {
  for (const bool is_virtual : {false, true}) {
    for (const flow::RunnerOptions& way : kEvery) {
      Parted parted;
      parted.items = 300;
      parted.results.resize(300);
      const flow::Plan plan = split_plan(parted, &Parted::split);
      Counted blocks;
      sched::Scheduler scheduler{{.workers = 2, .is_virtual = is_virtual}};
      flow::Runner runner{plan, scheduler, counted(way, blocks)};
      for (int round = 1; round <= 10; ++round) {
        CHECK(runner.run() == Outcome::kOk);
        CHECK_EQ(parted.bodies_before_after, round * 300);
        CHECK_EQ(parted.after.load(), round * 3);
        for (int i = 0; i < 300; ++i) CHECK_EQ(parted.results[static_cast<std::size_t>(i)], i * 2);
      }
    }
  }
}

TEST(no_items_are_done_at_once_and_a_failing_item_fails_the_run) {
  for (const flow::RunnerOptions& way : kEvery) {
    Parted parted;
    parted.results.resize(50);
    const flow::Plan plan = split_plan(parted, &Parted::split);
    Counted blocks;
    sched::Scheduler scheduler{{.workers = 2}};
    flow::Runner runner{plan, scheduler, counted(way, blocks)};
    CHECK(runner.run() == Outcome::kOk);
    CHECK_EQ(parted.after.load(), 3);
    parted.items = 50;
    parted.fails_at = 20;
    CHECK(runner.run() == Outcome::kFailed);
    CHECK_EQ(parted.after.load(), 3);
    parted.fails_at = -1;
    CHECK(runner.run() == Outcome::kOk);
    CHECK_EQ(parted.after.load(), 6);
  }
}

TEST(parts_in_parts_end_in_order_and_too_deep_a_nest_fails_the_run) {
  for (const flow::RunnerOptions& way : kEvery) {
    Parted parted;
    parted.depth = 6;
    const flow::Plan plan = split_plan(parted, &Parted::nest);
    Counted blocks;
    sched::Scheduler scheduler{{.workers = 2}};
    flow::Runner runner{plan, scheduler, counted(way, blocks)};
    CHECK(runner.run() == Outcome::kOk);
    CHECK_EQ(parted.bodies_before_after, 127);
    CHECK_EQ(parted.after.load(), 3);
    parted.depth = flow::Runner::kMaxNesting + 1;
    CHECK(runner.run() == Outcome::kFailed);
    CHECK_EQ(parted.after.load(), 3);
  }
}

TEST(a_cancel_reaches_the_parts_of_a_run) {
  struct Waits {
    std::latch begun{1};
    std::latch may_end{1};
    std::atomic<int> ran{0};
    static Verdict split(Run& run, NodeIndex node, void* arg, sched::Worker*) {
      return flow::Runner::spawn_each(run, node, 100, &item, arg);
    }
    static Verdict item(Run&, NodeIndex, void* arg, sched::Worker*) {
      auto& waits = *static_cast<Waits*>(arg);
      if (waits.ran++ == 0) {
        waits.begun.count_down();
        waits.may_end.wait();
      }
      return Verdict::kDone;
    }
  } waits;
  flow::PlanBuilder builder;
  builder.add(&Waits::split, &waits);
  const flow::Plan plan = builder.compile();
  Counted blocks;
  sched::Scheduler scheduler{{.workers = 1}};
  flow::Runner runner{plan, scheduler, {.source = &blocks}};
  auto handle = runner.start();
  waits.begun.wait();
  CHECK(handle.cancel());
  waits.may_end.count_down();
  scheduler.drain();
  CHECK_EQ(waits.ran.load(), 1);
}

}  // namespace
