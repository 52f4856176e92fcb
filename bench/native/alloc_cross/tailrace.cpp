#include "alloc/tailrace.hpp"

#include "workload.hpp"

int main(int argc, char** argv) {
  bench::alloc::Pool heap;
  bench::alloc_cross::measure(heap, bench::parse(argc, argv));
}
