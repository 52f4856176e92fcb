// graph.hpp -- what the graph benches share: a graph as a list of edges, its cells, the passes.
//
// What      `Graph`, `Cells` (what the nodes do), `measure` (runs, checks the answers, prints).
// Why       Every engine builds the same graph once and runs it again and again, as a service does.
// Threads   Cell::operator() on whatever thread the engine chooses; the rest on the main thread.
// Checked   Every node counts its runs, and looks whether those before it have run as often.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "common.hpp"

namespace bench::graph {

struct Graph {
  explicit Graph(int nodes) : before(static_cast<std::size_t>(nodes)) {}
  int size() const { return static_cast<int>(before.size()); }
  void edge(int from, int to) {
    before[static_cast<std::size_t>(to)].push_back(from);
    ++edges;
  }
  std::vector<std::vector<int>> before;  // the predecessors of each node
  int edges = 0;
};

// What a node does: counts its runs, and in the rows with work spins for so many rounds of a generator.
struct Cell {
  std::int32_t runs = 0;
  std::int32_t rounds = 0;
  std::uint32_t value = 1;
  const Cell* before = nullptr;  // one of its predecessors
  bool* out_of_order = nullptr;

  void operator()() noexcept {
    ++runs;
    if (before != nullptr && before->runs != runs) *out_of_order = true;
    for (std::int32_t i = 0; i < rounds; ++i) value = value * 1'664'525u + 1'013'904'223u;
  }
};

struct Cells {
  explicit Cells(const Graph& graph, int rounds) : all(graph.before.size()) {
    for (std::size_t i = 0; i < all.size(); ++i) {
      all[i].rounds = rounds;
      all[i].out_of_order = &out_of_order;
      if (!graph.before[i].empty()) all[i].before = &all[static_cast<std::size_t>(graph.before[i].front())];
    }
  }
  Cell& operator[](int i) { return all[static_cast<std::size_t>(i)]; }
  std::vector<Cell> all;
  bool out_of_order = false;
};

inline constexpr int kRounds = 300;  // some 0.3 us: long enough for two threads to pay

// A work with its bodies of nothing ("tree.t1") or, as "tree.work", with bodies that take time.
struct Row {
  std::string work;
  int threads;
  int rounds;
};
inline std::vector<Row> rows(const char* work) {
  const std::string name{work};
  return {{name + ".t1", 1, 0}, {name + ".t2", 2, 0}, {name + ".work", 2, kRounds}};
}

// Calls `run()`, which runs the graph once, and prints the passes.
template <class Run>
void measure(const Row& row, const char* engine, const Options& options, const Graph& graph, const Cells& cells,
             int runs_in_a_pass, Run&& run) {
  std::int32_t runs = 0;
  for (; runs < 6; ++runs) run();  // warm, and learnt
  for (int pass = 0; pass < options.passes; ++pass) {
    const int times = row.rounds > 0 ? 4 : scaled(runs_in_a_pass, options);
    Samples samples{static_cast<std::size_t>(times)};
    for (int i = 0; i < times; ++i, ++runs) {
      const std::int64_t began = now_ns();
      run();
      samples.add(static_cast<double>(now_ns() - began) / graph.size());
    }
    bool right = !cells.out_of_order;
    for (const Cell& cell : cells.all) right = right && cell.runs == runs;
    require(right, "a node was lost, ran twice, or ran before one that it follows");
    print(row.work.c_str(), engine, "ns/node", samples);
  }
}

}  // namespace bench::graph
