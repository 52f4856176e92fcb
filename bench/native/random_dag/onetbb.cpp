#include "graph/onetbb.hpp"

#include "workload.hpp"

int main(int argc, char** argv) {
  using namespace bench::random_dag;
  bench::graph::run_all(kWork, make(), kRuns, bench::parse(argc, argv));
}
