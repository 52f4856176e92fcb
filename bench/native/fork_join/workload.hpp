// N1: fib(32) by recursion that forks at every call; nanoseconds a call. fork_join: one thread; .t2: two, the caller is one.
#pragma once

#include <cstdint>

#include "common.hpp"

namespace bench::fork_join {

inline constexpr const char* kUnit = "ns/task";
inline constexpr int kRuns = 5;  // in a pass

constexpr std::int64_t fib(int n) {
  std::int64_t a = 0, b = 1;
  for (; n > 0; --n) b += a, a = b - a;
  return a;
}

// Calls `run(n)`, which returns fib(n). `divisor`: an engine that is slower by far does a smaller one.
template <class Run>
void measure(const char* engine, int threads, const Options& options, Run&& run, double divisor = 1) {
  int n = 32;
  for (double part = options.scale / divisor; part < 0.6 && n > 15; part *= 1.618) --n;
  const double calls = 2.0 * static_cast<double>(fib(n + 1)) - 1;
  require(run(n) == fib(n), "a Fibonacci number");  // warm
  for (int pass = 0; pass < options.passes; ++pass) {
    Samples samples{kRuns};
    for (int i = 0; i < kRuns; ++i) {
      const std::int64_t began = now_ns();
      const std::int64_t answer = run(n);
      samples.add(static_cast<double>(now_ns() - began) / calls);
      require(answer == fib(n), "a Fibonacci number");
    }
    print(threads == 1 ? "fork_join" : "fork_join.t2", engine, kUnit, samples);
  }
}

}  // namespace bench::fork_join
