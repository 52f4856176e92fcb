#include <memory>

#include <tbb/flow_graph.h>
#include <tbb/global_control.h>

#include "workload.hpp"

namespace {

// `threads` counts the caller, who works too.
void measure(const char* engine, std::size_t threads, const bench::Options& options) {
  using Node = tbb::flow::continue_node<tbb::flow::continue_msg>;
  const tbb::global_control limit{tbb::global_control::max_allowed_parallelism, threads};
  std::int64_t count = 0;
  std::int64_t wrong = 0;
  tbb::flow::graph graph;
  std::vector<std::unique_ptr<Node>> nodes;
  for (int i = 0; i < bench::chain::kNodes; ++i) {
    const bench::chain::Step step{&count, i, &wrong};
    nodes.push_back(std::make_unique<Node>(graph, [step](const tbb::flow::continue_msg&) { step(); }));
    if (i > 0) tbb::flow::make_edge(*nodes[static_cast<std::size_t>(i - 1)], *nodes.back());
  }
  bench::chain::measure(engine, options, count, wrong, [&] {
    nodes.front()->try_put(tbb::flow::continue_msg{});
    graph.wait_for_all();
  });
}

}  // namespace

int main(int argc, char** argv) {
  const bench::Options options = bench::parse(argc, argv);
  measure("oneTBB flow, 1 thread", 1, options);
  measure("oneTBB flow, 2 threads", 2, options);
}
