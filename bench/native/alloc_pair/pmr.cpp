#include "alloc/pmr.hpp"

#include "workload.hpp"

int main(int argc, char** argv) {
  const bench::Options options = bench::parse(argc, argv);
  bench::alloc::Synchronized synchronized;
  bench::alloc_pair::measure(synchronized, options);
  bench::alloc::Unsynchronized unsynchronized;
  bench::alloc_pair::measure(unsynchronized, options);
}
