#include <tbb/global_control.h>
#include <tbb/parallel_invoke.h>
#include <tbb/task_group.h>

#include "workload.hpp"

namespace {

std::int64_t fib(int n) {
  if (n < 2) return n;
  std::int64_t a = 0, b = 0;
  tbb::parallel_invoke([&] { a = fib(n - 1); }, [&] { b = fib(n - 2); });
  return a + b;
}

std::int64_t fib_group(int n) {
  if (n < 2) return n;
  std::int64_t a = 0, b = 0;
  tbb::task_group group;
  group.run([&] { b = fib_group(n - 2); });
  a = fib_group(n - 1);
  group.wait();
  return a + b;
}

}  // namespace

int main(int argc, char** argv) {
  const bench::Options options = bench::parse(argc, argv);
  for (const int threads : {1, 2}) {
    const tbb::global_control limit{tbb::global_control::max_allowed_parallelism, static_cast<std::size_t>(threads)};
    bench::fork_join::measure("oneTBB parallel_invoke", threads, options, fib, 8);
    bench::fork_join::measure("oneTBB task_group", threads, options, fib_group, 8);
  }
}
