// budget.hpp -- how much memory may be charged, and how much is: one number that several parts share.
//
// What      `charge` adds unless the limit would be passed; `credit` takes off again.
// Why       A pool's committed memory and what running steps have declared that they need are one limit to the machine.
// Threads   All members: any thread.
#pragma once

#include <cstddef>

#include "tailrace/base/atomic.hpp"

namespace tailrace::pool {

class Budget {
 public:
  explicit Budget(std::size_t limit_bytes) noexcept : limit_bytes_{limit_bytes} {}

  bool charge(std::size_t bytes) noexcept {
    // relaxed (all, in both fields): a count that guards no memory of its own.
    std::size_t before = charged_bytes_.load(base::relaxed);
    do {
      if (bytes > limit_bytes_ || before > limit_bytes_ - bytes) return false;
    } while (!charged_bytes_.compare_exchange_weak(before, before + bytes, base::relaxed, base::relaxed));
    note(before + bytes);
    return true;
  }
  void credit(std::size_t bytes) noexcept { charged_bytes_.fetch_sub(bytes, base::relaxed); }

  std::size_t limit_bytes() const noexcept { return limit_bytes_; }
  std::size_t charged_bytes() const noexcept { return charged_bytes_.load(base::relaxed); }
  std::size_t peak_bytes() const noexcept { return peak_bytes_.load(base::relaxed); }

 private:
  void note(std::size_t charged) noexcept {
    std::size_t peak = peak_bytes_.load(base::relaxed);
    while (peak < charged && !peak_bytes_.compare_exchange_weak(peak, charged, base::relaxed, base::relaxed)) {
    }
  }

  const std::size_t limit_bytes_;
  base::atomic<std::size_t> charged_bytes_{0};
  base::atomic<std::size_t> peak_bytes_{0};
};

}  // namespace tailrace::pool
