#include "tailrace/flow/runner.hpp"

#include "workload.hpp"

namespace {

using namespace tailrace;

std::int64_t makespan(const bench::list_schedule::Tasks& tasks, int processors, flow::Order order) {
  std::size_t ran = 0;
  auto step = [&ran] { ++ran; };
  flow::PlanBuilder builder;
  for (const std::int64_t cost : tasks.cost) builder.weigh(builder.add(step), cost);
  for (const auto& [before, after] : tasks.edges) {
    builder.edge(static_cast<flow::NodeIndex>(before), static_cast<flow::NodeIndex>(after));
  }
  const flow::Plan plan = builder.compile();
  sched::Scheduler scheduler{{.workers = processors, .is_virtual = true}};
  flow::Runner runner{plan, scheduler, {.order = order}};
  bench::require(runner.run() == base::Outcome::kOk && ran == tasks.cost.size(), "a task did not run");
  return scheduler.clock().now_ns();
}

void measure(const char* engine, const bench::Options& options, flow::Order order) {
  bench::list_schedule::measure(engine, options, [order](const bench::list_schedule::Tasks& tasks, int processors) {
    return makespan(tasks, processors, order);
  });
}

}  // namespace

int main(int argc, char** argv) {
  const bench::Options options = bench::parse(argc, argv);
  measure("tailrace", options, flow::Order::kCriticalPath);
  measure("oldest first", options, flow::Order::kOldestFirst);
  measure("drawn from the seed", options, flow::Order::kSeeded);
}
