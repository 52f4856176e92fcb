#include "tailrace/flow/runner.hpp"

#include "workload.hpp"

int main(int argc, char** argv) {
  using namespace tailrace;
  const bench::Options options = bench::parse(argc, argv);
  bench::diamond::Cells cells;
  flow::PlanBuilder builder;
  const auto add = [&](bench::diamond::Cell& cell) {
    return builder.add(
        [](flow::Run&, flow::NodeIndex, void* arg, sched::Worker*) {
          ++static_cast<bench::diamond::Cell*>(arg)->count;
          return base::Verdict::kDone;
        },
        &cell);
  };
  const flow::NodeIndex root = add(cells.root);
  const flow::NodeIndex join = add(cells.join);
  for (auto& cell : cells.middle) {
    const flow::NodeIndex node = add(cell);
    builder.edge(root, node);
    builder.edge(node, join);
  }
  const flow::Plan plan = builder.compile();
  sched::Scheduler scheduler{{.workers = 1}};
  flow::Runner runner{plan, scheduler};
  bench::diamond::measure("tailrace", options, cells,
                          [&] { bench::require(runner.run() == base::Outcome::kOk, "the run failed"); });
}
