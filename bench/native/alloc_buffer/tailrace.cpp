#include "alloc/tailrace.hpp"

#include "workload.hpp"

int main(int argc, char** argv) { bench::alloc_buffer::measure<bench::alloc::Pool>(bench::parse(argc, argv)); }
