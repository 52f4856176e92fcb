// N5: a random graph of 65,536 nodes and some 131,000 edges: each node follows two that were drawn from those before it.
#pragma once

#include "graph/graph.hpp"

namespace bench::random_dag {

inline constexpr const char* kWork = "random_dag";
inline constexpr int kNodes = 65'536;
inline constexpr int kRuns = 10;  // in a pass

inline graph::Graph make() {
  graph::Graph graph{kNodes};
  std::uint64_t state = 42;
  const auto below = [&state](int bound) {
    state = state * 6'364'136'223'846'793'005u + 1'442'695'040'888'963'407u;
    return static_cast<int>((state >> 33) % static_cast<std::uint64_t>(bound));
  };
  for (int i = 1; i < kNodes; ++i) {
    const int first = below(i);
    const int second = below(i);
    graph.edge(first, i);
    if (second != first) graph.edge(second, i);
  }
  return graph;
}

}  // namespace bench::random_dag
