// N3: a linear chain of 100,000 nodes, run again and again; nanoseconds a node. The caller helps in every engine.
#pragma once

#include <cstdint>

#include "common.hpp"

namespace bench::chain {

inline constexpr const char* kWork = "chain";
inline constexpr const char* kUnit = "ns/node";
inline constexpr int kNodes = 100'000;
inline constexpr int kRuns = 20;  // in a pass

struct Step {  // what every node does: count in order, so that a node run twice or out of turn shows
  std::int64_t* count;
  std::int64_t place;
  std::int64_t* wrong;
  void operator()() const noexcept { *wrong += *count % kNodes != place, ++*count; }
};

// Calls `run()`, which runs the chain once, and prints the passes.
template <class Run>
void measure(const char* engine, const Options& options, const std::int64_t& count, const std::int64_t& wrong,
             Run&& run) {
  run();  // warm
  std::int64_t runs = 1;
  for (int pass = 0; pass < options.passes; ++pass) {
    Samples samples{kRuns};
    for (int i = 0; i < scaled(kRuns, options); ++i, ++runs) {
      const std::int64_t began = now_ns();
      run();
      samples.add(static_cast<double>(now_ns() - began) / kNodes);
    }
    require(wrong == 0 && count == runs * kNodes, "a node of the chain was lost, or ran out of turn");
    print(kWork, engine, kUnit, samples);
  }
}

}  // namespace bench::chain
