#include "alloc/malloc.hpp"

#include "workload.hpp"

int main(int argc, char** argv) { bench::alloc_rss::measure<bench::alloc::Malloc>(bench::parse(argc, argv)); }
