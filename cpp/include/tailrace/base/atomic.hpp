// atomic.hpp -- the one seam between tailrace and the machine's atomics.
//
// What      Names for the memory orders, and `StdAtomics`, the policy that lock-free templates use by default.
// Why       A template over the policy can be built with the model checker's atomics (tests/model) instead,
//           so the code that is proved is the code that ships. No other file names std::atomic.
// Threads   Everything here is a name; the rules are at each use.
// Checked   tests/house/test_orders.py: no order above relaxed without a tag, no stand-alone fence.
#pragma once

#include <atomic>
#include <cstdint>

#include "tailrace/base/futex.hpp"  // parking on a 32-bit word
#include "tailrace/base/membarrier.hpp"

namespace tailrace::base {

std::int64_t monotonic_ns() noexcept;  // base/clock.hpp, which needs this header

inline constexpr std::memory_order relaxed = std::memory_order_relaxed;
inline constexpr std::memory_order acquire = std::memory_order_acquire;
inline constexpr std::memory_order release = std::memory_order_release;
inline constexpr std::memory_order acq_rel = std::memory_order_acq_rel;
inline constexpr std::memory_order seq_cst = std::memory_order_seq_cst;

template <class T>
using atomic = std::atomic<T>;

// Tells the core that this thread spins, so that a sibling thread may use the unit.
inline void pause() noexcept {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

struct StdAtomics {
  template <class T>
  using atomic = std::atomic<T>;

  static void pause() noexcept { base::pause(); }
  static void yield() noexcept { yield_core(); }

  // The light side of a membarrier: the compiler keeps what is above it above; the processor need not.
  static void keep_order() noexcept { asm volatile("" ::: "memory"); }
  static bool membarrier() noexcept { return base::membarrier(); }

  static std::int64_t now_ns() noexcept { return monotonic_ns(); }

  // Sleeps while `word` holds `expected`; may return early. timeout_ns < 0 waits for ever.
  static void park(const atomic<std::uint32_t>& word, std::uint32_t expected, std::int64_t timeout_ns) {
    futex_wait(reinterpret_cast<const std::uint32_t*>(&word), expected, timeout_ns);
  }
  static void unpark(const atomic<std::uint32_t>& word, int count) noexcept {
    futex_wake(reinterpret_cast<const std::uint32_t*>(&word), count);
  }
};

static_assert(sizeof(std::atomic<std::uint32_t>) == sizeof(std::uint32_t));

}  // namespace tailrace::base
