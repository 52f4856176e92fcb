// clock.hpp -- the only source of time: the machine's, or a virtual one.
//
// What      `Clock::now_ns`, monotonic nanoseconds. `VirtualClock` moves only when told to.
// Why       Every timer, deadline and duration reads it, so a test owns time and a wall-clock jump changes nothing.
// Threads   Real: any. Virtual: set by the one thread that drives the virtual runtime, read by any.
#pragma once

#include <cstdint>

#include "tailrace/base/atomic.hpp"

namespace tailrace::base {

inline constexpr std::int64_t kNever = INT64_MAX;

// The time `seconds` after `now_ns`; kNever when that is beyond what a clock can show (or not a number).
constexpr std::int64_t after_s(std::int64_t now_ns, double seconds) noexcept {
  if (!(seconds < 9e9)) return kNever;  // 285 years
  return now_ns + (seconds > 0 ? static_cast<std::int64_t>(seconds * 1e9) : 0);
}

// CLOCK_MONOTONIC in nanoseconds.
std::int64_t monotonic_ns() noexcept;

class Clock {
 public:
  virtual ~Clock() = default;
  virtual std::int64_t now_ns() const noexcept = 0;
  virtual bool is_virtual() const noexcept = 0;
};

class RealClock final : public Clock {
 public:
  std::int64_t now_ns() const noexcept override { return monotonic_ns(); }
  bool is_virtual() const noexcept override { return false; }

  static RealClock& instance() noexcept;
};

class VirtualClock final : public Clock {
 public:
  // relaxed (both): one driving thread moves time; a reader elsewhere needs no more than some recent value.
  std::int64_t now_ns() const noexcept override { return now_ns_.load(relaxed); }
  bool is_virtual() const noexcept override { return true; }
  void advance_to(std::int64_t now_ns) noexcept {
    if (now_ns > now_ns_.load(relaxed)) now_ns_.store(now_ns, relaxed);
  }

 private:
  atomic<std::int64_t> now_ns_{0};
};

}  // namespace tailrace::base
