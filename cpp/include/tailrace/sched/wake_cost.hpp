// wake_cost.hpp -- what it costs to wake a worker here, measured by each wake.
//
// What      Two running averages: the waker's time in the call, and the time until the woken one runs.
// Why       Work that is done before a woken worker could begin it needs no wake, and how long that takes differs by ten
//           between machines. A wake costs microseconds, so that measuring each one adds nothing.
// Threads   Any; averages are approximate when several write at once.
#pragma once

#include <algorithm>
#include <cstdint>

#include "tailrace/base/atomic.hpp"

namespace tailrace::sched {

class WakeCost {
 public:
  void add_call(std::int64_t ns) noexcept { add(call_ns_, ns); }
  void add_start(std::int64_t ns) noexcept { add(start_ns_, ns); }

  std::int64_t call_ns() const noexcept { return call_ns_.load(base::relaxed); }
  std::int64_t start_ns() const noexcept { return start_ns_.load(base::relaxed); }

 private:
  // One sample moves the average by an eighth, and counts for no more than this: a thread that was kept off its core for a
  // while says nothing about wakes.
  static constexpr std::int64_t kMostNs = 100'000;

  // relaxed (all): estimates; a lost sample is no loss.
  static void add(base::atomic<std::int64_t>& average, std::int64_t ns) noexcept {
    const std::int64_t sample = std::clamp<std::int64_t>(ns, 0, kMostNs), old = average.load(base::relaxed);
    average.store(old + (sample - old) / 8, base::relaxed);
  }

  base::atomic<std::int64_t> call_ns_{6'000};  // until measured: docs/measuring.md
  base::atomic<std::int64_t> start_ns_{22'000};
};

}  // namespace tailrace::sched
