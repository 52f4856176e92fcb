#include "graph/tailrace.hpp"

#include "workload.hpp"

int main(int argc, char** argv) {
  using namespace bench::random_dag;
  const bench::Options options = bench::parse(argc, argv);
  bench::graph::run_all(kWork, make(), kRuns, options);
  for (int pass = 0; pass < options.passes; ++pass) {  // N12
    bench::Samples node{1}, edge{1};
    node.add(sizeof(tailrace::flow::Node));
    edge.add(sizeof(tailrace::flow::NodeIndex));
    bench::print("random_dag.node", "tailrace", "bytes", node);
    bench::print("random_dag.edge", "tailrace", "bytes", edge);
  }
}
