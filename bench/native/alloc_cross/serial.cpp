#include "alloc/nothing.hpp"

#include "workload.hpp"

int main(int argc, char** argv) {
  const bench::Options options = bench::parse(argc, argv);
  bench::alloc::Nothing nothing;
  for (int pass = 0; pass < options.passes; ++pass) bench::alloc_cross::measure_hand_over(nothing, options);
}
