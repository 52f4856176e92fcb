#include "tailrace/flow/runner.hpp"

#include "workload.hpp"

int main(int argc, char** argv) {
  using namespace tailrace;
  const bench::Options options = bench::parse(argc, argv);
  std::int64_t count = 0;
  std::int64_t wrong = 0;
  std::vector<bench::chain::Step> steps;
  for (int i = 0; i < bench::chain::kNodes; ++i) steps.push_back({&count, i, &wrong});

  flow::PlanBuilder builder;
  for (auto& step : steps) {
    const flow::NodeIndex node = builder.add(step);
    if (node > 0) builder.edge(node - 1, node);
  }
  const flow::Plan plan = builder.compile();
  sched::Scheduler scheduler{{.workers = 1}};
  flow::Runner runner{plan, scheduler};
  bench::chain::measure("tailrace", options, count, wrong,
                        [&] { bench::require(runner.run() == base::Outcome::kOk, "the run failed"); });
}
