#include <memory>

#include <tbb/flow_graph.h>
#include <tbb/global_control.h>

#include "workload.hpp"

namespace {

using tbb::flow::continue_msg;

// `threads` counts the caller, who works too. `Policy` lightweight: bodies run where they become ready, never in
// parallel; the fastest form for bodies of nothing, and the wrong one for any other.
template <class Policy>
void measure(const char* engine, std::size_t threads, const bench::Options& options) {
  using Node = tbb::flow::continue_node<continue_msg, Policy>;
  const tbb::global_control limit{tbb::global_control::max_allowed_parallelism, threads};
  bench::diamond::Cells cells;
  tbb::flow::graph graph;
  const auto make = [&](bench::diamond::Cell& cell) {
    return std::make_unique<Node>(graph, [&cell](const continue_msg&) noexcept { ++cell.count; });
  };
  const auto root = make(cells.root);
  const auto join = make(cells.join);
  std::vector<std::unique_ptr<Node>> middle;
  for (auto& cell : cells.middle) {
    middle.push_back(make(cell));
    tbb::flow::make_edge(*root, *middle.back());
    tbb::flow::make_edge(*middle.back(), *join);
  }
  bench::diamond::measure(engine, options, cells, [&] {
    root->try_put(continue_msg{});
    graph.wait_for_all();
  });
}

}  // namespace

int main(int argc, char** argv) {
  const bench::Options options = bench::parse(argc, argv);
  measure<tbb::flow::queueing>("oneTBB flow, 1 thread", 1, options);
  measure<tbb::flow::queueing>("oneTBB flow, 2 threads", 2, options);
  measure<tbb::flow::lightweight>("oneTBB flow, lightweight", 2, options);
}
