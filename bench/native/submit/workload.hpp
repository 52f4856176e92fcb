// N8: one producer submits a million empty tasks; nanoseconds a task, until all are done.
//
// submit: the one worker runs every task; producer and worker are pinned to a core each, as the kernel else sometimes
// leaves the woken worker behind the busy producer. submit.helped: the producer may run tasks too.
#pragma once

#include <atomic>
#include <cstdint>

#include "common.hpp"

namespace bench::submit {

inline constexpr const char* kUnit = "ns/task";
inline constexpr int kTasks = 1'000'000;

// One counter for each of the two threads that may run a task; only that thread writes it.
struct alignas(64) Count {
  std::atomic<std::int64_t> ran{0};
  std::int64_t add() noexcept {
    const std::int64_t now = ran.load(std::memory_order_relaxed) + 1;
    ran.store(now, std::memory_order_release);
    return now;
  }
  std::int64_t read() const noexcept { return ran.load(std::memory_order_acquire); }
};

// `run(n)` submits n tasks, waits for all of them and returns how many ran.
template <class Run>
void measure(const char* work, const char* engine, const Options& options, Run&& run) {
  constexpr int kRounds = 3;
  const int tasks = scaled(kTasks, options);
  require(run(tasks / 10 + 1) == tasks / 10 + 1, "a submitted task was lost, or ran twice, or on the wrong thread");
  for (int pass = 0; pass < options.passes; ++pass) {
    Samples samples{kRounds};
    for (int i = 0; i < kRounds; ++i) {
      const std::int64_t began = now_ns();
      const std::int64_t ran = run(tasks);
      samples.add(static_cast<double>(now_ns() - began) / tasks);
      require(ran == tasks, "a submitted task was lost, or ran twice, or on the wrong thread");
    }
    print(work, engine, kUnit, samples);
  }
}

}  // namespace bench::submit
