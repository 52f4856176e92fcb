// N11: a live engine with nothing to do for 5 s, its threads started; CPU seconds of the process.
#pragma once

#include <ctime>

#include "common.hpp"

namespace bench::idle {

inline constexpr const char* kWork = "idle";
inline constexpr const char* kUnit = "CPU s";
inline constexpr int kIdleMs = 5'000;

// `touch()` runs one task on a thread of the engine and returns true when it has run.
template <class Touch>
void measure(const char* engine, const Options& options, Touch&& touch) {
  for (int pass = 0; pass < options.passes; ++pass) {
    require(touch(), "the task before the idle time did not run");
    const std::clock_t began = std::clock();
    pause_for(std::chrono::milliseconds{scaled(kIdleMs, options)});
    Samples samples{1};
    samples.add(static_cast<double>(std::clock() - began) / CLOCKS_PER_SEC);
    print(kWork, engine, kUnit, samples);
  }
}

}  // namespace bench::idle
