#include "tailrace/base/clock.hpp"

#include <pthread.h>

#include <ctime>

#include "tailrace/base/thread_clock.hpp"
#include "tailrace/base/tick.hpp"

namespace tailrace::base {

std::int64_t monotonic_ns() noexcept {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<std::int64_t>(now.tv_sec) * 1'000'000'000 + now.tv_nsec;
}

std::int64_t tick_ns() noexcept {
#ifdef CLOCK_MONOTONIC_COARSE
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
  return static_cast<std::int64_t>(now.tv_sec) * 1'000'000'000 + now.tv_nsec;
#else
  return monotonic_ns();
#endif
}

RealClock& RealClock::instance() noexcept {
  static RealClock& clock = *new RealClock;  // never destroyed: the purge thread reads it while the process ends
  return clock;
}

ThreadClock ThreadClock::of_this_thread() noexcept {
  ThreadClock clock;
#ifdef __linux__
  clockid_t id{};
  clock.known_ = pthread_getcpuclockid(pthread_self(), &id) == 0;
  clock.id_ = id;
#endif
  return clock;
}

std::int64_t ThreadClock::now_ns() const noexcept {
#ifdef __linux__
  timespec now{};
  if (known_ && clock_gettime(id_, &now) == 0) return std::int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec;
#endif
  return -1;
}

}  // namespace tailrace::base
