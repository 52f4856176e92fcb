// cut.hpp -- task graphs whose shortest schedule is known.
//
// What      `cut`: a full schedule of `processors` for `kLength`, cut into tasks at random places; some pairs that follow
//           each other in it are tied by an edge. No schedule can be shorter than the one that was cut.
// Why       How good an order of the ready tasks is shows only against the best possible one.
// Source    Made from a seed; the construction is that of Kwok, Ahmad 1999, "Benchmarking and Comparison of the Task
//           Graph Scheduling Algorithms", section 5.4 (random graphs with a pre-determined optimal schedule).
#pragma once

#include <algorithm>
#include <cstdint>
#include <utility>
#include <vector>

namespace bench::list_schedule {

inline constexpr std::int64_t kLength = 1'000'000;  // nanoseconds of virtual time

struct Tasks {
  std::vector<std::int64_t> cost;
  std::vector<std::pair<int, int>> edges;
};

inline Tasks cut(int processors, int tasks_each, std::uint64_t seed) {
  std::uint64_t state = seed * 2'654'435'761u + 1;
  const auto below = [&state](std::int64_t bound) {
    state = state * 6'364'136'223'846'793'005u + 1'442'695'040'888'963'407u;
    return static_cast<std::int64_t>((state >> 33) % static_cast<std::uint64_t>(bound));
  };
  struct Piece {
    std::int64_t begins, ends;
    int processor;
  };
  std::vector<Piece> pieces;
  for (int p = 0; p < processors; ++p) {
    std::vector<std::int64_t> cuts{0, kLength};
    for (int i = 1; i < tasks_each; ++i) cuts.push_back(1 + below(kLength - 1));
    std::sort(cuts.begin(), cuts.end());
    cuts.erase(std::unique(cuts.begin(), cuts.end()), cuts.end());
    for (std::size_t i = 0; i + 1 < cuts.size(); ++i) pieces.push_back({cuts[i], cuts[i + 1], p});
  }
  std::sort(pieces.begin(), pieces.end(), [](const Piece& a, const Piece& b) {
    return a.begins != b.begins ? a.begins < b.begins : a.processor < b.processor;
  });
  Tasks tasks;
  for (const Piece& piece : pieces) tasks.cost.push_back(piece.ends - piece.begins);
  const auto n = static_cast<int>(pieces.size());
  for (int after = 1; after < n; ++after) {
    // One to three predecessors among the latest that have ended by then, on any processor.
    for (std::int64_t k = 1 + below(3); k > 0; --k) {
      const int before = after - 1 - static_cast<int>(below(std::min<std::int64_t>(after, 3 * processors)));
      const auto& earlier = pieces[static_cast<std::size_t>(before)];
      if (earlier.ends <= pieces[static_cast<std::size_t>(after)].begins) tasks.edges.emplace_back(before, after);
    }
  }
  return tasks;
}

}  // namespace bench::list_schedule
