// What the standard library offers: a thread for each fork. So forks stop two levels above what would be thousands.
#include <future>

#include "workload.hpp"

namespace {

std::int64_t fib(int n) {
  if (n < 2) return n;
  auto second = std::async(std::launch::async, fib, n - 2);
  const std::int64_t first = fib(n - 1);
  return first + second.get();
}

}  // namespace

int main(int argc, char** argv) {
  const bench::Options options = bench::parse(argc, argv);
  bench::fork_join::measure("std::async, a thread each", 2, options, fib, 3'000);
}
