// test_list_schedule.cpp -- in virtual time the most urgent node goes first, and plans end as early as they can.
#include <vector>

#include "../../../bench/native/list_schedule/cut.hpp"
#include "../harness.hpp"
#include "tailrace/flow/runner.hpp"

namespace {

using namespace tailrace;
using bench::list_schedule::kLength;

struct Schedule {
  std::int64_t makespan_ns = 0;
  std::vector<std::uint32_t> order;
};

Schedule run(const bench::list_schedule::Tasks& tasks, int processors, flow::Order order, std::uint64_t seed = 1) {
  Schedule schedule;
  flow::PlanBuilder builder;
  for (const std::int64_t cost : tasks.cost) {
    builder.weigh(builder.add(
                      [](flow::Run& run, flow::NodeIndex node, void* arg, sched::Worker*) {
                        static_cast<Schedule*>(arg)->order.push_back(run.plan().node(node).given);
                        return base::Verdict::kDone;
                      },
                      &schedule),
                  cost);
  }
  for (const auto& [before, after] : tasks.edges) {
    builder.edge(static_cast<flow::NodeIndex>(before), static_cast<flow::NodeIndex>(after));
  }
  const flow::Plan plan = builder.compile();
  sched::Scheduler scheduler{{.workers = processors, .seed = seed, .is_virtual = true}};
  flow::Runner runner{plan, scheduler, {.order = order}};
  CHECK(runner.run() == base::Outcome::kOk);
  CHECK_EQ(schedule.order.size(), tasks.cost.size());
  schedule.makespan_ns = scheduler.clock().now_ns();
  return schedule;
}

TEST(by_critical_path_cut_schedules_come_within_a_percent_and_a_half_of_the_shortest) {
  for (const int processors : {2, 4, 8}) {
    for (const int tasks_each : {20, 100}) {
      double by_path = 0;
      double by_age = 0;
      constexpr int kGraphs = 30;
      for (int i = 0; i < kGraphs; ++i) {
        const auto tasks =
            bench::list_schedule::cut(processors, tasks_each, test::seed() + static_cast<std::uint64_t>(i));
        const std::int64_t path = run(tasks, processors, flow::Order::kCriticalPath).makespan_ns;
        const std::int64_t age = run(tasks, processors, flow::Order::kOldestFirst).makespan_ns;
        // Graham 1969: no list schedule is longer than 2 - 1/P times the shortest.
        CHECK(path >= kLength && path * processors <= kLength * (2 * processors - 1));
        CHECK(age >= kLength && age * processors <= kLength * (2 * processors - 1));
        by_path += static_cast<double>(path) / static_cast<double>(kLength) / kGraphs;
        by_age += static_cast<double>(age) / static_cast<double>(kLength) / kGraphs;
      }
      std::cout << "  " << processors << " processors, " << tasks_each << " tasks each: by critical path " << by_path
                << ", oldest first " << by_age << " times the shortest" << std::endl;
      CHECK(by_path <= 1.015);
      CHECK(by_path < by_age);
    }
  }
}

TEST(a_seed_draws_an_order_and_repeats_it) {
  const auto tasks = bench::list_schedule::cut(3, 30, test::seed());
  const Schedule once = run(tasks, 3, flow::Order::kSeeded, 7);
  const Schedule again = run(tasks, 3, flow::Order::kSeeded, 7);
  const Schedule other = run(tasks, 3, flow::Order::kSeeded, 8);
  CHECK(once.order == again.order);
  CHECK_EQ(once.makespan_ns, again.makespan_ns);
  CHECK(once.order != other.order);
}

}  // namespace
