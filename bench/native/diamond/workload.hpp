// N7: a diamond of 10 nodes (one, eight in parallel, one), run to done by a caller who helps; microseconds a run.
//
// hot: run after run. cold: each after a pause of 1 ms, so that the engine's threads have parked.
#pragma once

#include <atomic>
#include <cstdint>

#include "common.hpp"

namespace bench::diamond {

inline constexpr const char* kUnit = "us";
inline constexpr int kMiddle = 8;
inline constexpr int kBatch = 10;  // hot runs between two readings of the clock, which costs a third of a run
inline constexpr int kHotBatches = 20'000;
inline constexpr int kColdRuns = 400;

// Cells of their own, so that the bodies may run at once: the engine's cost is measured, not a shared counter's.
struct alignas(64) Cell {
  std::int64_t count = 0;
};
struct Cells {
  Cell root;
  Cell middle[kMiddle];
  Cell join;
};

template <class Run>
void measure(const char* engine, const Options& options, const Cells& cells, Run&& run) {
  std::int64_t runs = 0;
  const auto timed = [&](int times) {
    const std::int64_t began = now_ns();
    for (int i = 0; i < times; ++i) run();
    const std::int64_t ended = now_ns();
    runs += times;
    return static_cast<double>(ended - began) / 1e3 / times;
  };
  for (int i = 0; i < 1000; ++i) timed(1);
  for (int pass = 0; pass < options.passes; ++pass) {
    Samples hot{kHotBatches};
    for (int i = 0; i < scaled(kHotBatches, options); ++i) hot.add(timed(kBatch));
    Samples cold{kColdRuns};
    for (int i = 0; i < scaled(kColdRuns, options); ++i) {
      pause_for(std::chrono::milliseconds{1});
      cold.add(timed(1));
    }
    bool right = cells.root.count == runs && cells.join.count == runs;
    for (const Cell& cell : cells.middle) right = right && cell.count == runs;
    require(right, "a node of the diamond did not run once a run");
    print("diamond.hot", engine, kUnit, hot);
    print("diamond.cold", engine, kUnit, cold);
  }
}

}  // namespace bench::diamond
