#include "alloc/malloc.hpp"

#include "workload.hpp"

int main(int argc, char** argv) {
  bench::alloc::Malloc heap;
  bench::alloc_cross::measure(heap, bench::parse(argc, argv));
}
