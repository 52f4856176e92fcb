// N2: skynet, a tree in which every task forks ten, down to a million leaves whose numbers are summed; nanoseconds a task.
#pragma once

#include <cstddef>
#include <cstdint>

#include "common.hpp"

namespace bench::skynet {

inline constexpr const char* kUnit = "ns/task";
inline constexpr std::int64_t kFork = 10;
inline constexpr int kRuns = 20;  // in a pass

// Calls `run(leaves)`, which returns the sum of 0 .. leaves - 1.
template <class Run>
void measure(const char* engine, int threads, const Options& options, Run&& run) {
  const std::int64_t leaves = options.scale < 0.5 ? 10'000 : 1'000'000;
  double tasks = 0;
  for (std::int64_t level = leaves; level > 0; level /= kFork) tasks += static_cast<double>(level);
  const std::int64_t sum = leaves * (leaves - 1) / 2;
  require(run(leaves) == sum, "the sum of the leaves");  // warm
  for (int pass = 0; pass < options.passes; ++pass) {
    Samples samples{kRuns};
    for (int i = 0; i < kRuns; ++i) {
      const std::int64_t began = now_ns();
      const std::int64_t answer = run(leaves);
      samples.add(static_cast<double>(now_ns() - began) / tasks);
      require(answer == sum, "the sum of the leaves");
    }
    print(threads == 1 ? "skynet" : "skynet.t2", engine, kUnit, samples);
  }
}

}  // namespace bench::skynet
