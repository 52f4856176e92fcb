// serial.hpp -- the graph benches without a scheduler: the plain calls, in an order that fits.
//
// What      `run_all` for one workload.
// Why       What a node costs means little without what calling its body costs.
// Threads   The main thread only.
#pragma once

#include "graph.hpp"

namespace bench::graph {

inline void run_all(const char* work, const Graph& graph, int runs, const Options& options) {
  for (const Row& row : rows(work)) {
    Cells cells{graph, row.rounds};
    // Through a pointer, as any engine that learns its bodies at run time must.
    void (*volatile call)(Cell&) = [](Cell& cell) { cell(); };
    measure(row, "serial", options, graph, cells, runs, [&] {
      for (Cell& cell : cells.all) call(cell);  // the graphs are numbered in an order that fits
    });
  }
}

}  // namespace bench::graph
