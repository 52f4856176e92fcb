// inject_lane.hpp -- one outside thread's way in: cells with the closure inside, claimed in batches.
//
// What      A ring of 64-byte cells with a single producer; consumers copy a batch and claim it with one exchange.
// Why       A submit is eight plain stores and one publishing store: no allocation, no line that other producers write, and,
//           where a sleeper pays for the order (docs/idle.md), nothing that waits for a line to arrive.
//           The claim is a compare-and-swap, not a lock: a descheduled consumer stalls nobody.
// Threads   try_push: the producer only. claim, empty: any thread.
// ABA       Positions are 64-bit and only grow; a torn copy can only belong to a claim that fails.
// Checked   tests/model/inject_lane.cpp (a producer and two consumers, with mutants), tests/stress/queues.cpp.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "tailrace/base/atomic.hpp"
#include "tailrace/base/cache_line.hpp"

namespace tailrace::queue {

inline constexpr std::size_t kCellWords = 8;
using Cell = std::array<std::uint64_t, kCellWords>;

// Ordered: what the producer reads next comes after the push. Released: it may be read before; see `order_push`.
enum class Publish : std::uint8_t { kOrdered, kReleased };

template <std::size_t kCells = 1024, class Atomics = base::StdAtomics>
class InjectLane {
  static_assert((kCells & (kCells - 1)) == 0, "a ring index is a mask");
  template <class U>
  using atomic = typename Atomics::template atomic<U>;

 public:
  // False when the lane is full: the caller runs the work itself, waits, or refuses.
  bool try_push(const Cell& cell, Publish how = Publish::kOrdered) noexcept {
    const std::uint64_t t = tail_.load(base::relaxed);  // relaxed: only the producer writes it
    if (t - cached_head_ == kCells) {
      cached_head_ = head_.load(base::acquire);  // [L1] acquire: [L4] has copied the cells before we reuse them
      if (t - cached_head_ == kCells) return false;
    }
    auto& slot = cells_[t & (kCells - 1)];
    // relaxed: a consumer that reads these while they change fails its claim.
    for (std::size_t i = 0; i < kCellWords; ++i) slot[i].store(cell[i], base::relaxed);
    if (how == Publish::kReleased) {
      tail_.store(t + 1, base::release);  // [L6] release: the words to [L3]
    } else {
      // [L2] seq_cst: releases the words to [L3]; and a producer that looks for sleepers next must not do so before
      // this is visible (docs/idle.md).
      tail_.store(t + 1, base::seq_cst);
    }
    return true;
  }

  // The producer, after a push that was only released: what it reads next comes after that push.
  void order_push() noexcept {
    // relaxed: only the producer writes it. [L2] seq_cst: publishes the same value once more, as above.
    tail_.store(tail_.load(base::relaxed), base::seq_cst);
  }

  // Copies up to `limit` of the oldest cells to `out` and makes them the caller's; returns how many (0: none, or lost).
  std::size_t claim(Cell* out, std::size_t limit) noexcept {
    std::uint64_t h = head_.load(base::relaxed);  // relaxed: a guess; the claim re-reads it
    const std::uint64_t t = tail_.load(base::acquire);  // [L3] acquire: pairs with [L2]
    if (static_cast<std::int64_t>(t - h) <= 0) return 0;
    const std::size_t n = t - h < limit ? static_cast<std::size_t>(t - h) : limit;
    for (std::size_t k = 0; k < n; ++k) {
      auto& slot = cells_[(h + k) & (kCells - 1)];
      for (std::size_t i = 0; i < kCellWords; ++i) out[k][i] = slot[i].load(base::relaxed);
    }
    // [L4] release: our copies are done before the producer, at [L1], may reuse the cells. Failure: lost, relaxed.
    return head_.compare_exchange_strong(h, h + n, base::release, base::relaxed) ? n : 0;
  }

  // How many cells wait, more or less. relaxed: a hint for the size of a claim.
  std::size_t backlog() const noexcept {
    const auto n = static_cast<std::int64_t>(tail_.load(base::relaxed) - head_.load(base::relaxed));
    return n > 0 ? static_cast<std::size_t>(n) : 0;
  }

  // [L5] seq_cst: a parker asks this last, after it has shown itself as a sleeper (docs/idle.md).
  bool empty() const noexcept { return head_.load(base::seq_cst) >= tail_.load(base::seq_cst); }

 private:
  alignas(base::kCacheLine) atomic<std::uint64_t> head_{0};  // consumers write it
  alignas(base::kCacheLine) atomic<std::uint64_t> tail_{0};  // the producer writes it
  std::uint64_t cached_head_ = 0;
  alignas(base::kCacheLine) std::array<std::array<atomic<std::uint64_t>, kCellWords>, kCells> cells_{};
};

}  // namespace tailrace::queue
