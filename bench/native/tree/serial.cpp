#include "graph/serial.hpp"

#include "workload.hpp"

int main(int argc, char** argv) {
  using namespace bench::tree;
  bench::graph::run_all(kWork, make(), kRuns, bench::parse(argc, argv));
}
