#include "alloc/pmr.hpp"

#include "workload.hpp"

int main(int argc, char** argv) {
  bench::alloc::Synchronized heap;
  bench::alloc_cross::measure(heap, bench::parse(argc, argv));
}
