// test_native_runs.cpp -- native runs in every way of sharing: cancels, deadlines; and nothing leaks.
#include <atomic>
#include <latch>
#include <memory>
#include <stdexcept>
#include <string>
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

// `wide` chains of `deep` links between a first node and a last one.
struct Ladder {
  explicit Ladder(NodeIndex wide, NodeIndex deep) {
    const auto add = [&] { return builder.add(count); };
    const NodeIndex first = add();
    std::vector<NodeIndex> ends;
    for (NodeIndex w = 0; w < wide; ++w) {
      NodeIndex last = first;
      for (NodeIndex d = 0; d < deep; ++d) {
        const NodeIndex next = add();
        builder.edge(last, next);
        last = next;
      }
      ends.push_back(last);
    }
    const NodeIndex join = add();
    for (const NodeIndex end : ends) builder.edge(end, join);
    nodes = join + 1;
  }
  struct Count {
    std::atomic<std::int64_t>* ran;
    void operator()() const { ran->fetch_add(1, std::memory_order_relaxed); }
  };
  std::atomic<std::int64_t> ran{0};
  Count count{&ran};
  flow::PlanBuilder builder;
  std::int64_t nodes = 0;
};

TEST(a_run_does_every_node_once_whenever_helpers_take_part) {
  for (const flow::RunnerOptions& way : kEvery) {
    Ladder ladder{100, 5};
    const flow::Plan plan = ladder.builder.compile();
    Counted blocks;
    sched::Scheduler scheduler{{.workers = 2}};
    flow::Runner runner{plan, scheduler, counted(way, blocks)};
    for (int round = 1; round <= 100; ++round) {
      CHECK(runner.run() == Outcome::kOk);
      CHECK_EQ(ladder.ran.load(), round * ladder.nodes);
    }
  }
}

TEST(a_failed_run_skips_the_rest_and_the_next_one_is_whole_again) {
  for (const flow::RunnerOptions& way : kEvery) {
    std::atomic<bool> fails{false};
    std::atomic<int> ran{0};
    struct Shared {
      std::atomic<bool>& fails;
      std::atomic<int>& ran;
    } shared{fails, ran};
    flow::PlanBuilder builder;
    const auto add = [&](bool may_fail) {
      const flow::Body body = [](Run&, NodeIndex, void* arg, sched::Worker*) {
        ++static_cast<Shared*>(arg)->ran;
        return Verdict::kDone;
      };
      const flow::Body failing = [](Run&, NodeIndex, void* arg, sched::Worker*) {
        return static_cast<Shared*>(arg)->fails ? Verdict::kFailed : Verdict::kDone;
      };
      return builder.add(may_fail ? failing : body, &shared);
    };
    const NodeIndex first = add(true);
    for (int i = 0; i < 200; ++i) {
      const NodeIndex middle = add(false);
      builder.edge(first, middle);
      const NodeIndex last = add(false);
      builder.edge(middle, last);
      if (i > 0) builder.edge(middle - 2, last);
    }
    const flow::Plan plan = builder.compile();
    Counted blocks;
    sched::Scheduler scheduler{{.workers = 2}};
    flow::Runner runner{plan, scheduler, counted(way, blocks)};
    for (int round = 0; round < 20; ++round) {
      fails = round % 2 == 0;
      ran = 0;
      CHECK(runner.run() == (fails ? Outcome::kFailed : Outcome::kOk));
      CHECK_EQ(ran.load(), fails ? 0 : 400);
    }
  }
}

TEST(a_started_run_is_done_by_a_worker_or_by_who_waits_for_it) {
  Ladder ladder{10, 2};
  const flow::Plan plan = ladder.builder.compile();
  Counted blocks;
  sched::Scheduler scheduler{{.workers = 1}};
  flow::Runner runner{plan, scheduler, {.source = &blocks}};
  std::vector<flow::RunHandle> handles;
  for (int i = 0; i < 50; ++i) handles.push_back(runner.start());
  for (auto& handle : handles) {
    CHECK(handle.wait() == Outcome::kOk);
    CHECK(!handle.cancel());
  }
  CHECK_EQ(ladder.ran.load(), 50 * ladder.nodes);
  runner.start();  // nobody waits: it is done all the same
  scheduler.drain();
  CHECK_EQ(ladder.ran.load(), 51 * ladder.nodes);
}

// A node that says that it has begun, and ends when it is told to.
struct Held {
  std::latch begun{1};
  std::latch may_end{1};
  static Verdict body(Run&, NodeIndex, void* arg, sched::Worker*) {
    auto& held = *static_cast<Held*>(arg);
    held.begun.count_down();
    held.may_end.wait();
    return Verdict::kDone;
  }
};

TEST(a_cancelled_run_ends_at_once_and_what_had_not_begun_is_skipped) {
  for (const flow::RunnerOptions& way : kEvery) {
    Held held;
    std::atomic<int> ran{0};
    auto count = [&ran] { ++ran; };
    flow::PlanBuilder builder;
    builder.add(&Held::body, &held);
    for (NodeIndex i = 1; i < 20; ++i) builder.edge((i - 1) / 2, builder.add(count));
    const flow::Plan plan = builder.compile();
    Counted blocks;
    sched::Scheduler scheduler{{.workers = 1}};
    flow::Runner runner{plan, scheduler, counted(way, blocks)};
    auto handle = runner.start();
    held.begun.wait();
    CHECK(handle.wait_for(0) == Outcome::kPending);
    CHECK(handle.outcome() == Outcome::kPending);
    CHECK(handle.cancel());
    CHECK(!handle.cancel());
    CHECK(handle.wait() == Outcome::kCancelled);  // though its body still runs
    held.may_end.count_down();
    scheduler.drain();
    CHECK_EQ(ran.load(), 0);
  }
}

TEST(those_who_asked_are_told_of_a_cancel_once_and_of_a_good_end_never) {
  int told = 0;
  const auto tell = [](void* arg) { ++*static_cast<int*>(arg); };
  Ladder ladder{2, 1};
  const flow::Plan plan = ladder.builder.compile();
  sched::Scheduler scheduler{{.workers = 1, .is_virtual = true}};
  flow::Runner runner{plan, scheduler};
  auto good = runner.start();
  {
    const flow::OnCancel watch{good.state(), tell, &told};
    CHECK(good.wait() == Outcome::kOk);
    const flow::OnCancel late{good.state(), tell, &told};
  }
  CHECK_EQ(told, 0);
  auto bad = runner.start();
  {
    const flow::OnCancel first{bad.state(), tell, &told};
    const flow::OnCancel second{bad.state(), tell, &told};
    {
      const flow::OnCancel gone{bad.state(), tell, &told};
    }
    CHECK(bad.cancel());
    CHECK_EQ(told, 2);
    const flow::OnCancel late{bad.state(), tell, &told};
    CHECK_EQ(told, 3);
    CHECK(bad.wait() == Outcome::kCancelled);
  }
  CHECK_EQ(told, 3);
}

TEST(a_deadline_ends_a_run_in_virtual_time_and_its_timer_goes_with_a_run_that_is_done) {
  flow::PlanBuilder builder;
  int ran = 0;
  auto count = [&ran] { ++ran; };
  for (NodeIndex i = 0; i < 4; ++i) {
    builder.weigh(builder.add(count), 1'000);
    if (i > 0) builder.edge(i - 1, i);
  }
  const flow::Plan plan = builder.compile();
  Counted blocks;
  sched::Scheduler scheduler{{.workers = 2, .is_virtual = true}};
  flow::Runner runner{plan, scheduler, {.source = &blocks}};
  int unused = 0;
  auto late = runner.start(unused, {.deadline_s = 2.5e-6});
  CHECK(late.wait() == Outcome::kTimedOut);
  CHECK_EQ(scheduler.clock().now_ns(), 2'500);
  CHECK_EQ(ran, 3);  // the third had begun
  scheduler.drain();
  auto early = runner.start(unused, {.deadline_s = 1e-3});
  CHECK(early.wait_for(1e-7) == Outcome::kPending);
  CHECK(early.wait() == Outcome::kOk);
  CHECK_EQ(ran, 7);
  CHECK_EQ(scheduler.next_event_ns(), base::kNever);
}

TEST(a_plan_with_launched_nodes_is_refused_by_a_runner_with_the_way_out) {
  flow::PlanBuilder builder;
  builder.add(&Held::body, nullptr, flow::Kind::kLaunch);
  const flow::Plan launches = builder.compile();
  sched::Scheduler scheduler{{.workers = 1, .is_virtual = true}};
  CHECK_THROWS(std::invalid_argument, flow::Runner(launches, scheduler));
}

TEST(a_deadline_that_passes_in_the_middle_of_a_run_stops_it_in_every_way_of_sharing) {
  for (const flow::RunnerOptions& way : kEvery) {
    std::atomic<bool> slow{false};
    std::atomic<int> after{0};
    struct Shared {
      std::atomic<bool>& slow;
      std::atomic<int>& after;
    } shared{slow, after};
    flow::PlanBuilder builder;
    const auto wait = [](Run& run, NodeIndex, void* arg, sched::Worker*) {
      const std::int64_t until = base::monotonic_ns() + 1'000'000;
      while (static_cast<Shared*>(arg)->slow && (run.is_open() && base::monotonic_ns() < until)) base::pause();
      return Verdict::kDone;
    };
    builder.add(wait, &shared);
    for (NodeIndex i = 1; i < 30; ++i) {
      const auto count = [](Run&, NodeIndex, void* arg, sched::Worker*) {
        ++static_cast<Shared*>(arg)->after;
        return Verdict::kDone;
      };
      builder.edge((i - 1) / 3, builder.add(count, &shared));
    }
    const flow::Plan plan = builder.compile();
    Counted blocks;
    sched::Scheduler scheduler{{.workers = 1}};
    flow::Runner runner{plan, scheduler, counted(way, blocks)};
    int unused = 0;
    for (int i = 0; i < 6; ++i) CHECK(runner.run(unused, {.deadline_s = 1e6}) == Outcome::kOk);
    CHECK_EQ(after.load(), 6 * 29);
    slow = true;
    CHECK(runner.run(unused, {.deadline_s = 1e-6}) == Outcome::kTimedOut);
    CHECK_EQ(after.load(), 6 * 29);
  }
}

TEST(bodies_that_turn_out_long_are_shared_in_the_middle_of_a_run) {
  std::atomic<bool> wait{false};
  std::latch both{2};
  struct Shared {
    std::atomic<bool>& wait;
    std::latch& both;
  } shared{wait, both};
  // A chain that becomes slow, then two nodes that can only end together: with one thread this would hang.
  flow::PlanBuilder builder;
  const auto slow = [](Run&, NodeIndex, void* arg, sched::Worker*) {
    if (static_cast<Shared*>(arg)->wait) {
      const std::int64_t until = base::monotonic_ns() + 20'000;
      while (base::monotonic_ns() < until) base::pause();
    }
    return Verdict::kDone;
  };
  const auto meet = [](Run&, NodeIndex, void* arg, sched::Worker*) {
    if (static_cast<Shared*>(arg)->wait) static_cast<Shared*>(arg)->both.arrive_and_wait();
    return Verdict::kDone;
  };
  for (NodeIndex i = 0; i < 300; ++i) {
    builder.add(slow, &shared);
    if (i > 0) builder.edge(i - 1, i);
  }
  builder.edge(100, builder.add(meet, &shared));
  builder.edge(100, builder.add(meet, &shared));
  const flow::Plan plan = builder.compile();
  sched::Scheduler scheduler{{.workers = 2}};
  flow::Runner runner{plan, scheduler};
  // So many that what a busy machine added to one of them is forgotten.
  for (int i = 0; i < 500; ++i) CHECK(runner.run() == Outcome::kOk);
  wait = true;
  CHECK(runner.run() == Outcome::kOk);
}

}  // namespace
