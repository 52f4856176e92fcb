// futex.hpp -- sleep on a 32-bit word until somebody says it changed.
//
// What      Thin calls over the kernel's futex, private to the process.
// Why       One sleeping word per waiter costs nothing until it is used; a condition variable is 48 bytes and a lock.
// Threads   Any. A wait returns at once when the word differs, may return early, and never on a stale value.
#pragma once

#include <cstdint>

namespace tailrace::base {

// Sleeps while *word == expected. timeout_ns < 0 waits for ever.
void futex_wait(const std::uint32_t* word, std::uint32_t expected, std::int64_t timeout_ns);

// Wakes up to `count` threads that sleep on `word`; returns how many there were.
int futex_wake(const std::uint32_t* word, int count) noexcept;

// Lets another thread have this core.
void yield_core() noexcept;

// From now on this thread's timed sleeps end on time: the kernel else lets them run over by 50 us, to save wakes.
void sleep_on_time() noexcept;

}  // namespace tailrace::base
