#include "alloc/nothing.hpp"

#include "workload.hpp"

int main(int argc, char** argv) {
  const bench::Options options = bench::parse(argc, argv);
  for (int pass = 0; pass < options.passes; ++pass) bench::alloc_buffer::measure_remote<bench::alloc::Nothing>(options);
}
