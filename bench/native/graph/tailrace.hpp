// tailrace.hpp -- the graph benches on tailrace: a plan compiled once, run by a caller who helps.
//
// What      `run_all` for one workload.
// Why       One text for all graphs.
// Threads   The main thread, and in the rows for two threads one worker.
#pragma once

#include "graph.hpp"
#include "tailrace/flow/runner.hpp"

namespace bench::graph {

inline void run_all(const char* work, const Graph& graph, int runs, const Options& options) {
  using namespace tailrace;
  for (const Row& row : rows(work)) {
    Cells cells{graph, row.rounds};
    flow::PlanBuilder builder;
    for (int i = 0; i < graph.size(); ++i) builder.add(cells[i]);
    for (int i = 0; i < graph.size(); ++i) {
      for (const int from : graph.before[static_cast<std::size_t>(i)]) {
        builder.edge(static_cast<flow::NodeIndex>(from), static_cast<flow::NodeIndex>(i));
      }
    }
    const flow::Plan plan = builder.compile();
    sched::Scheduler scheduler{{.workers = 1}};
    flow::Runner runner{plan, scheduler, {.invite_workers = row.threads > 1}};
    measure(row, "tailrace", options, graph, cells, runs,
            [&] { require(runner.run() == base::Outcome::kOk, "the run failed"); });
  }
}

}  // namespace bench::graph
