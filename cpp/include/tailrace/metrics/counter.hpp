// counter.hpp -- a count that its owner adds to and others read.
//
// What      A 64-bit counter with one writer and any number of readers.
// Why       A read-modify-write on a shared line costs more than a small task; an owner's plain add does not.
// Threads   add: the owner only. read: any thread, a recent value; exact once the owner is quiet.
#pragma once

#include <cstdint>

#include "tailrace/base/atomic.hpp"

namespace tailrace::metrics {

class Counter {
 public:
  // relaxed (all): one writer, so load + store is an add; readers want a count, not an order.
  void add(std::uint64_t n = 1) noexcept { value_.store(value_.load(base::relaxed) + n, base::relaxed); }
  std::uint64_t read() const noexcept { return value_.load(base::relaxed); }

 private:
  base::atomic<std::uint64_t> value_{0};
};

}  // namespace tailrace::metrics
