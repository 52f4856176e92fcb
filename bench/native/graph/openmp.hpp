// openmp.hpp -- the graph benches on OpenMP: tasks with depend clauses, which are made anew for every run.
//
// What      `run_all` for one workload.
// Why       OpenMP keeps no graph between runs; what it costs to make one is part of what its users pay.
// Threads   `threads` counts the caller, who works too.
#pragma once

#include <omp.h>

#include "graph.hpp"

namespace bench::graph {

inline void run_all(const char* work, const Graph& graph, int runs, const Options& options) {
  runs = runs > 3 ? 3 : runs;
  for (const Row& row : rows(work)) {
    Cells cells{graph, row.rounds};
    Cell* const all = cells.all.data();
    measure(row, "OpenMP tasks", options, graph, cells, runs, [&] {
#pragma omp parallel num_threads(row.threads)
#pragma omp single
      for (int i = 0; i < graph.size(); ++i) {
        const int* before = graph.before[static_cast<std::size_t>(i)].data();
        const int n = static_cast<int>(graph.before[static_cast<std::size_t>(i)].size());
        if (n == 0) {
#pragma omp task depend(out : all[i]) firstprivate(i)
          all[i]();
        } else if (n == 1) {
#pragma omp task depend(in : all[before[0]]) depend(out : all[i]) firstprivate(i)
          all[i]();
        } else {
#pragma omp task depend(in : all[before[0]], all[before[1]]) depend(out : all[i]) firstprivate(i)
          all[i]();
        }
      }
    });
  }
}

}  // namespace bench::graph
