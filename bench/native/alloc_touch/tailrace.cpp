#include "alloc/tailrace.hpp"

#include "workload.hpp"

int main(int argc, char** argv) {
  using namespace bench;
  const Options options = parse(argc, argv);
  alloc_touch::measure<alloc::Pool>(options);
  for (int pass = 0; pass < options.passes; ++pass) {  // what reserving ahead leaves of the first touch
    alloc_touch::measure_fill<alloc::Pool>(
        "prefault", [](alloc::Pool& heap) { heap.pool().reserve(2 * alloc_touch::kFirst * alloc::kMiB, true); });
  }
}
