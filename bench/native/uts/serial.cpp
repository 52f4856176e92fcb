#include "workload.hpp"

int main(int argc, char** argv) {
  const bench::Options options = bench::parse(argc, argv);
  std::int64_t (*volatile call)(bench::uts::Node) = bench::uts::count_serially;
  bench::uts::measure("serial", 1, options, [&](bench::uts::Node root) { return call(root); });
}
