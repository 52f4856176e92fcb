#include "tailrace/base/clock.hpp"

#include <ctime>

namespace tailrace::base {

std::int64_t monotonic_ns() noexcept {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<std::int64_t>(now.tv_sec) * 1'000'000'000 + now.tv_nsec;
}

RealClock& RealClock::instance() noexcept {
  static RealClock clock;
  return clock;
}

}  // namespace tailrace::base
