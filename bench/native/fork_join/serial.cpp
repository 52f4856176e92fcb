#include "workload.hpp"

namespace {

// Not folded into itself by the compiler: each call is one call, as for the engines.
[[gnu::noinline]] std::int64_t fib(int n);
std::int64_t (*volatile call)(int) = fib;
std::int64_t fib(int n) { return n < 2 ? n : call(n - 1) + call(n - 2); }

}  // namespace

int main(int argc, char** argv) {
  const bench::Options options = bench::parse(argc, argv);
  bench::fork_join::measure("serial", 1, options, fib);
}
