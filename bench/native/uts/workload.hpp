// N2: an unbalanced tree, as in the Unbalanced Tree Search benchmark: nobody can tell the size of a subtree beforehand. The
// root has 2000 children, any other node eight with probability 0.124 and else none, by a hash of its place; so subtrees
// differ by orders of magnitude. Nanoseconds a node. Source: Olivier et al. 2006 (binomial trees; their hash is SHA-1).
#pragma once

#include <cstddef>
#include <cstdint>

#include "common.hpp"

namespace bench::uts {

inline constexpr const char* kUnit = "ns/node";
inline constexpr int kRuns = 20;  // in a pass

struct Node {
  std::uint64_t hash = 42;
  bool root = true;

  std::size_t children() const noexcept {
    if (root) return 2000;
    return hash % 1000 < 124 ? 8 : 0;
  }
  Node child(std::size_t i) const noexcept {
    std::uint64_t z = hash + i + 0x9e3779b97f4a7c15ull;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    return {z ^ (z >> 31), false};
  }
};

inline std::int64_t count_serially(Node node) {
  std::int64_t count = 1;
  const std::size_t n = node.children();
  for (std::size_t i = 0; i < n; ++i) count += count_serially(node.child(i));
  return count;
}

// Calls `run(root)`, which returns the count of the nodes.
template <class Run>
void measure(const char* engine, int threads, const Options& options, Run&& run) {
  const std::int64_t nodes = count_serially(Node{});
  require(run(Node{}) == nodes, "the number of nodes");  // warm
  for (int pass = 0; pass < options.passes; ++pass) {
    Samples samples{kRuns};
    for (int i = 0; i < scaled(kRuns, options); ++i) {
      const std::int64_t began = now_ns();
      const std::int64_t answer = run(Node{});
      samples.add(static_cast<double>(now_ns() - began) / static_cast<double>(nodes));
      require(answer == nodes, "the number of nodes");
    }
    print(threads == 1 ? "uts" : "uts.t2", engine, kUnit, samples);
  }
}

}  // namespace bench::uts
