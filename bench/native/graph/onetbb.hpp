// onetbb.hpp -- the graph benches on oneTBB's flow graph: continue_nodes, made once.
//
// What      `run_all` for one workload.
// Why       One text for all graphs.
// Threads   `threads` counts the caller, who works too.
#pragma once

#include <memory>

#include <tbb/flow_graph.h>
#include <tbb/global_control.h>

#include "graph.hpp"

namespace bench::graph {

inline void run_all(const char* work, const Graph& graph, int runs, const Options& options) {
  using tbb::flow::continue_msg;
  using Node = tbb::flow::continue_node<continue_msg>;
  for (const Row& row : rows(work)) {
    const tbb::global_control limit{tbb::global_control::max_allowed_parallelism,
                                    static_cast<std::size_t>(row.threads)};
    Cells cells{graph, row.rounds};
    tbb::flow::graph flow;
    std::vector<std::unique_ptr<Node>> nodes;
    for (int i = 0; i < graph.size(); ++i) {
      nodes.push_back(std::make_unique<Node>(flow, [cell = &cells[i]](const continue_msg&) { (*cell)(); }));
      for (const int from : graph.before[static_cast<std::size_t>(i)]) {
        tbb::flow::make_edge(*nodes[static_cast<std::size_t>(from)], *nodes.back());
      }
    }
    measure(row, "oneTBB flow", options, graph, cells, runs, [&] {
      for (int i = 0; i < graph.size(); ++i) {
        if (graph.before[static_cast<std::size_t>(i)].empty()) nodes[static_cast<std::size_t>(i)]->try_put({});
      }
      flow.wait_for_all();
    });
  }
}

}  // namespace bench::graph
