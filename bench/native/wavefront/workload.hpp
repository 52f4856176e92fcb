// N6: a wavefront over 512 x 512 nodes: each follows its neighbours above and to the left; nanoseconds a node.
#pragma once

#include "graph/graph.hpp"

namespace bench::wavefront {

inline constexpr const char* kWork = "wavefront";
inline constexpr int kSide = 512;
inline constexpr int kRuns = 4;  // in a pass

inline graph::Graph make() {
  graph::Graph graph{kSide * kSide};
  for (int row = 0; row < kSide; ++row) {
    for (int column = 0; column < kSide; ++column) {
      if (row > 0) graph.edge((row - 1) * kSide + column, row * kSide + column);
      if (column > 0) graph.edge(row * kSide + column - 1, row * kSide + column);
    }
  }
  return graph;
}

}  // namespace bench::wavefront
