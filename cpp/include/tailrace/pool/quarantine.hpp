// quarantine.hpp -- freed blocks wait before they are used again, so that a write to them is seen.
//
// What      `Quarantine`, of one thread's small blocks: one line for each class, which is also where the next block of the class
//           comes from. `RunQuarantine`, of a pool's large blocks. Both bounded in blocks and in bytes.
// Why       A block that is used again at once hides the mistake of who still writes to it.
// How       First in, first out. A block is poison while it waits; who takes it out looks whether it still is.
// Threads   Quarantine: who holds the cache that it belongs to; the counters: any. RunQuarantine: any.
// Checked   tests/cpp/pool/test_hardened.cpp.
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>

#include "tailrace/base/atomic.hpp"
#include "tailrace/base/cache_line.hpp"
#include "tailrace/metrics/counter.hpp"
#include "tailrace/pool/size_class.hpp"

namespace tailrace::pool {

class Quarantine {
 public:
  static constexpr std::size_t kMostBlocks = 256;  // of a class
  static constexpr std::size_t kLeastBlocks = 4;

  explicit Quarantine(std::size_t class_budget_bytes);  // throws std::bad_alloc

  // The block that has waited longest, for an allocation; nullptr while the line is not full.
  std::byte* reuse(std::size_t size_class) noexcept {
    Line& line = lines_[size_class];
    return size(line) > line.mask ? pop(line) : nullptr;
  }
  bool has_room(std::size_t size_class) const noexcept {
    const Line& line = lines_[size_class];
    return size(line) <= line.mask;
  }
  // False: there is no room for it.
  bool put(std::size_t size_class, std::byte* block) noexcept {
    Line& line = lines_[size_class];
    const std::uint64_t in = line.in.read();
    if (__builtin_expect(in - line.out.read() > line.mask, 0)) return false;
    line.blocks[in & line.mask] = block;
    line.in.add();
    return true;
  }
  // One to go below, however few there are; nullptr: there is none.
  std::byte* leave(std::size_t size_class) noexcept {
    Line& line = lines_[size_class];
    if (size(line) == 0) return nullptr;
    line.below.add();
    return pop(line);
  }
  template <class See>
  void see(std::size_t size_class, See&& see) const noexcept {
    const Line& line = lines_[size_class];
    for (std::uint64_t i = line.out.read(); i != line.in.read(); ++i) see(line.blocks[i & line.mask]);
  }

  // Allocations that took a block from here; frees, less those that the cache below has counted or will count.
  std::uint64_t reused(std::size_t c) const noexcept { return lines_[c].out.read() - lines_[c].below.read(); }
  std::uint64_t kept(std::size_t c) const noexcept { return lines_[c].in.read() - lines_[c].below.read(); }
  std::uint64_t waiting(std::size_t c) const noexcept { return size(lines_[c]); }
  std::uint64_t operations() const noexcept;

 private:
  struct alignas(base::kCacheLine) Line {
    metrics::Counter in, out, below;
    std::uint64_t mask = 0;  // of the place in `blocks`: one less than the line may hold
    std::byte** blocks = nullptr;
  };

  static std::uint64_t size(const Line& line) noexcept { return line.in.read() - line.out.read(); }
  static std::byte* pop(Line& line) noexcept {
    std::byte* block = line.blocks[line.out.read() & line.mask];
    line.out.add();
    return block;
  }

  std::array<Line, kSlabClasses> lines_{};
  std::unique_ptr<std::byte*[]> blocks_;
};

class RunQuarantine {
 public:
  static constexpr std::size_t kMostBlocks = 1024;
  struct Held {
    std::byte* block = nullptr;
    std::size_t room = 0;  // bytes that are poison
    std::size_t held_bytes = 0;  // with its guard
  };

  explicit RunQuarantine(std::size_t budget_bytes);  // throws std::bad_alloc

  // False: it is larger than all that may wait.
  bool put(Held held) noexcept;
  // The block that has waited longest, if too much waits or `all` have to go; else one with `block == nullptr`.
  Held leave(bool all) noexcept;
  template <class See>
  void see(See&& see) noexcept {
    const std::lock_guard<std::mutex> hold{mutex_};
    for (std::uint64_t i = out_; i != in_; ++i) see(held_[i % kMostBlocks]);
  }

  std::size_t blocks() const noexcept { return blocks_.load(base::relaxed); }
  std::size_t bytes() const noexcept { return bytes_.load(base::relaxed); }
  std::uint64_t frees() const noexcept { return frees_.load(base::relaxed); }
  void lock() noexcept { mutex_.lock(); }
  void unlock() noexcept { mutex_.unlock(); }

 private:
  const std::size_t budget_bytes_;
  std::mutex mutex_;  // guards what follows
  std::uint64_t in_ = 0, out_ = 0;
  std::unique_ptr<Held[]> held_;
  // relaxed (all): written with the mutex, read by statistics.
  base::atomic<std::size_t> blocks_{0}, bytes_{0};
  base::atomic<std::uint64_t> frees_{0};
};

}  // namespace tailrace::pool
