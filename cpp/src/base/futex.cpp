#include "tailrace/base/futex.hpp"

#include <sched.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <climits>
#include <ctime>

namespace tailrace::base {

namespace {

// linux/futex.h, whose numbers are the kernel's interface; not included, since musl's toolchains need not have it.
constexpr int kFutexWaitPrivate = 0 | 128;
constexpr int kFutexWakePrivate = 1 | 128;

}  // namespace

void futex_wait(const std::uint32_t* word, std::uint32_t expected, std::int64_t timeout_ns) {
  timespec span{};
  timespec* limit = nullptr;
  if (timeout_ns >= 0) {
    span.tv_sec = static_cast<time_t>(timeout_ns / 1'000'000'000);
    span.tv_nsec = static_cast<long>(timeout_ns % 1'000'000'000);
    limit = &span;
  }
  syscall(SYS_futex, word, kFutexWaitPrivate, expected, limit, nullptr, 0);
}

int futex_wake(const std::uint32_t* word, int count) noexcept {
  return static_cast<int>(syscall(SYS_futex, word, kFutexWakePrivate, count, nullptr, nullptr, 0));
}

void yield_core() noexcept { sched_yield(); }

void sleep_on_time() noexcept { prctl(PR_SET_TIMERSLACK, 1); }

}  // namespace tailrace::base
