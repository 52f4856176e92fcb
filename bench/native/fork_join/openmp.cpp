#include <omp.h>

#include "workload.hpp"

namespace {

std::int64_t fib(int n) {
  if (n < 2) return n;
  std::int64_t a = 0, b = 0;
#pragma omp task shared(b)
  b = fib(n - 2);
  a = fib(n - 1);
#pragma omp taskwait
  return a + b;
}

}  // namespace

int main(int argc, char** argv) {
  const bench::Options options = bench::parse(argc, argv);
  for (const int threads : {1, 2}) {
    bench::fork_join::measure(
        "OpenMP task", threads, options,
        [threads](int n) {
          std::int64_t answer = 0;
#pragma omp parallel num_threads(threads)
#pragma omp single
          answer = fib(n);
          return answer;
        },
        threads == 1 ? 8 : 100);
  }
}
