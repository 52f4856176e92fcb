// N10: a task is given to a parked worker; microseconds until it starts there, on the other core.
//
// Both threads are pinned, as the kernel else sometimes starts the worker on the giver's core, which is faster and no
// wake between cores. The giver sleeps meanwhile.
#pragma once

#include <atomic>

#include "common.hpp"

namespace bench::wake {

inline constexpr const char* kWork = "wake";
inline constexpr const char* kUnit = "us";
inline constexpr int kWakes = 400;

struct Task {
  std::atomic<std::int64_t>* started;
  bool pin;
  void operator()() const {
    if (pin) pin_this_thread(1);
    started->store(now_ns());
    started->notify_one();
  }
};

// `give(task)` hands the task to the worker.
template <class Give>
void measure(const char* engine, const Options& options, Give&& give) {
  std::atomic<std::int64_t> started{0};
  const auto timed = [&](bool pin) {
    started.store(0);
    pause_for(std::chrono::microseconds{1500});
    const std::int64_t began = now_ns();
    give(Task{&started, pin});
    started.wait(0);
    require(started.load() >= began, "the task did not run after it was given");
    return static_cast<double>(started.load() - began) / 1e3;
  };
  timed(true);
  pin_this_thread(0);
  for (int pass = 0; pass < options.passes; ++pass) {
    Samples samples{kWakes};
    for (int i = 0; i < scaled(kWakes, options); ++i) samples.add(timed(false));
    print(kWork, engine, kUnit, samples);
  }
}

}  // namespace bench::wake
