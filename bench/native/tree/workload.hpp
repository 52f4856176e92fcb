// N4: a binary tree of 2^17 - 1 nodes, each starting its two children; nanoseconds a node.
#pragma once

#include "graph/graph.hpp"

namespace bench::tree {

inline constexpr const char* kWork = "tree";
inline constexpr int kNodes = (1 << 17) - 1;
inline constexpr int kRuns = 10;  // in a pass

inline graph::Graph make() {
  graph::Graph graph{kNodes};
  for (int i = 1; i < kNodes; ++i) graph.edge((i - 1) / 2, i);
  return graph;
}

}  // namespace bench::tree
