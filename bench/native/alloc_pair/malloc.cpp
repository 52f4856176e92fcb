#include "alloc/malloc.hpp"

#include "workload.hpp"

int main(int argc, char** argv) {
  bench::alloc::Malloc heap;
  bench::alloc_pair::measure(heap, bench::parse(argc, argv));
}
