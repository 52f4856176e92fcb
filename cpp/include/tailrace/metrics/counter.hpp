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

  // As add and read, for a count that says "done": what the owner did before it is seen by who reads it.
  // [M1] release: pairs with [M2].
  void publish(std::uint64_t n) noexcept { value_.store(value_.load(base::relaxed) + n, base::release); }
  std::uint64_t read_published() const noexcept { return value_.load(base::acquire); }  // [M2] acquire: with [M1]

 private:
  base::atomic<std::uint64_t> value_{0};
};

}  // namespace tailrace::metrics
