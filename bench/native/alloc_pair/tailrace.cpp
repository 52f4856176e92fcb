#include "alloc/tailrace.hpp"

#include "workload.hpp"

namespace {

// M8: what the checks of a hardened pool cost, beside the same pool without them.
void measure_hardened(const bench::Options& options) {
  bench::alloc::Pool plain;
  bench::alloc::Pool hardened{{.limit_bytes = std::size_t{4} << 30, .hardened = true}};
  for (int pass = 0; pass < options.passes; ++pass) {
    bench::alloc_pair::measure_pairs("hardened", "tailrace", hardened, options);
    bench::alloc_pair::measure_pairs("hardened", "tailrace, not hardened", plain, options);
  }
}

}  // namespace

int main(int argc, char** argv) {
  const bench::Options options = bench::parse(argc, argv);
  {
    bench::alloc::Pool pool;
    bench::alloc_pair::measure(pool, options);
  }
  measure_hardened(options);
}
