// N8, N9: a million empty tasks are submitted; nanoseconds a task, until all are done.
//
// submit: one producer, and the one worker runs every task; both are pinned to a core each, as the kernel else sometimes
// leaves the woken worker behind the busy producer. submit.helped: the producer may run tasks too. submit.2x2: two
// producers with half of the tasks each, two workers that run them all; nobody is pinned.
#pragma once

#include <atomic>
#include <cstdint>
#include <thread>

#include "common.hpp"

namespace bench::submit {

inline constexpr const char* kUnit = "ns/task";
inline constexpr int kTasks = 1'000'000;

// One counter for each thread that may run a task; only that thread writes it.
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

// `half(p, n)` submits n tasks as producer p (0 or 1); `finish()` waits for all of them and returns how many have ever run.
template <class Half, class Finish>
void measure_two_by_two(const char* engine, const Options& options, Half&& half, Finish&& finish) {
  measure("submit.2x2", engine, options, [&, before = std::int64_t{0}](int tasks) mutable {
    std::thread second{[&] { half(1, tasks / 2); }};
    half(0, tasks - tasks / 2);
    second.join();
    const std::int64_t after = finish(), ran = after - before;
    before = after;
    return ran;
  });
}

}  // namespace bench::submit
