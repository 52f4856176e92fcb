// N11: one empty task each millisecond for two seconds; the CPU that the whole process takes, in per cent of one core.
//
// What a sleeping producer costs by itself is in it, and the engine "serial" shows it alone.
#pragma once

#include <ctime>

#include "common.hpp"

namespace bench::trickle {

inline constexpr const char* kWork = "trickle";
inline constexpr const char* kUnit = "CPU %";
inline constexpr int kTasks = 2'000;

// `give()` hands one empty task over; `ran()` says how many have run since the start.
template <class Give, class Ran>
void measure(const char* engine, const Options& options, Give&& give, Ran&& ran) {
  std::int64_t given = 0;
  for (int pass = 0; pass < options.passes; ++pass) {
    const std::clock_t cpu = std::clock();
    const auto began = std::chrono::steady_clock::now();
    const int tasks = scaled(kTasks, options);
    for (int i = 1; i <= tasks; ++i) {
      std::this_thread::sleep_until(began + std::chrono::milliseconds{i});
      give();
    }
    given += tasks;
    pause_for(std::chrono::milliseconds{2});
    const double wall_s = std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count();
    Samples samples{1};
    samples.add(100.0 * static_cast<double>(std::clock() - cpu) / CLOCKS_PER_SEC / wall_s);
    for (int i = 0; i < 1'000 && ran() != given; ++i) pause_for(std::chrono::milliseconds{1});
    require(ran() == given, "a task of the trickle was lost, or ran twice");
    print(kWork, engine, kUnit, samples);
  }
}

}  // namespace bench::trickle
