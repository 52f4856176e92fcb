// N10: a task is given to a worker that has nothing to do; microseconds until it starts there, on the other core.
//
// wake: the worker has parked; the giver sleeps meanwhile. Both threads are pinned, as the kernel else sometimes starts the
// worker on the giver's core, which is faster and no wake between cores. The engine "futex" is the floor: the system's own
// wake of one thread by another. wake.spinning: the next task comes a few microseconds after the last one has ended, while
// the worker still looks for work; the giver spins, as it would measure its own wake otherwise.
#pragma once

#include <atomic>

#include "common.hpp"

namespace bench::wake {

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
    print("wake", engine, kUnit, samples);
  }
}

// As above, while the worker spins.
template <class Give>
void measure_spinning(const char* engine, const Options& options, Give&& give) {
  constexpr std::int64_t kGapNs = 4'000;
  std::atomic<std::int64_t> started{0};
  const auto timed = [&](bool pin) {
    started.store(0);
    for (const std::int64_t until = now_ns() + kGapNs; now_ns() < until;) {
    }
    const std::int64_t began = now_ns();
    give(Task{&started, pin});
    while (started.load() == 0) {
    }
    require(started.load() >= began, "the task did not run after it was given");
    return static_cast<double>(started.load() - began) / 1e3;
  };
  timed(true);
  pin_this_thread(0);
  for (int pass = 0; pass < options.passes; ++pass) {
    Samples samples{10 * kWakes};
    for (int i = 0; i < scaled(10 * kWakes, options); ++i) samples.add(timed(false));
    print("wake.spinning", engine, kUnit, samples);
  }
}

}  // namespace bench::wake
