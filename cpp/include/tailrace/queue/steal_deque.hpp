// steal_deque.hpp -- a worker's own tasks; anybody else may take the oldest.
//
// What      The Chase-Lev deque: the owner pushes and pops at the bottom, thieves take from the top.
// Why       The owner's path has no lock and touches no line that another thread writes, but for the last item.
// Threads   push, pop: the owner only. steal, empty: any thread.
// ABA       `top_` and `bottom_` only grow (64 bits), so a compare-and-swap never meets an old value again.
// Source    Chase and Lev 2005, "Dynamic Circular Work-Stealing Deque"; Le, Pop, Cohen, Nardelli 2013 (orders).
//           Their fences are seq_cst accesses here: ThreadSanitizer understands those, and x86 pays the same.
// Checked   tests/model/steal_deque.cpp (owner and two thieves, with mutants), tests/stress/queues.cpp.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "tailrace/base/atomic.hpp"
#include "tailrace/base/cache_line.hpp"

namespace tailrace::queue {

enum class Steal : std::uint8_t { kTaken, kEmpty, kLost };  // kLost: another thread was faster; try again

template <class T, class Atomics = base::StdAtomics>
class StealDeque {
  template <class U>
  using atomic = typename Atomics::template atomic<U>;

  // A power-of-two ring; the index is taken modulo its size.
  struct Ring {
    explicit Ring(std::int64_t capacity)
        : mask{capacity - 1}, slots{new atomic<T>[static_cast<std::size_t>(capacity)]} {}
    atomic<T>& at(std::int64_t i) noexcept { return slots[static_cast<std::size_t>(i & mask)]; }
    std::int64_t mask;
    std::unique_ptr<atomic<T>[]> slots;
  };

 public:
  explicit StealDeque(std::int64_t capacity = 256) { grow_to(capacity); }
  StealDeque(const StealDeque&) = delete;
  StealDeque& operator=(const StealDeque&) = delete;

  void push(T item) {
    const std::int64_t b = bottom_.load(base::relaxed);  // relaxed: only the owner writes it
    if (b - cached_top_ > mask_) {
      cached_top_ = top_.load(base::acquire);  // [D1] acquire: the thief of [D4] has read its slot before we reuse it
      if (b - cached_top_ > mask_) grow(b);
    }
    ring_.load(base::relaxed)->at(b).store(item, base::relaxed);  // relaxed: published by the next line
    // [D2] seq_cst: releases the slot to [D5]; and a pusher that looks for sleepers next must not do so before
    // this store is visible (docs/idle.md).
    bottom_.store(b + 1, base::seq_cst);
  }

  // Takes the newest item; false when there is none.
  bool pop(T& item) noexcept {
    const std::int64_t b = bottom_.load(base::relaxed) - 1;
    // relaxed: `top_` never exceeds `bottom_` for the owner, so equality with an old value still means empty.
    if (top_.load(base::relaxed) > b) return false;
    // [D3] seq_cst, both: this store and the load of `top_` must not pass each other, nor those of [D5];
    // else owner and thief could both take the last item.
    bottom_.store(b, base::seq_cst);
    std::int64_t t = top_.load(base::seq_cst);
    if (t < b) {
      item = ring_.load(base::relaxed)->at(b).load(base::relaxed);
      return true;
    }
    bool won = false;
    if (t == b) {
      item = ring_.load(base::relaxed)->at(b).load(base::relaxed);
      // [D3] seq_cst: the race for the last item is decided by this word alone. Failure reads nothing: relaxed.
      won = top_.compare_exchange_strong(t, t + 1, base::seq_cst, base::relaxed);
    }
    // relaxed: the deque is empty at b + 1, so nobody can take an item on the strength of this store.
    bottom_.store(b + 1, base::relaxed);
    return won;
  }

  // Takes the oldest item.
  Steal steal(T& item) noexcept {
    // [D5] seq_cst, both: `top_` is read before `bottom_`, in the one order that [D3] also belongs to.
    std::int64_t t = top_.load(base::seq_cst);
    if (t >= bottom_.load(base::seq_cst)) return Steal::kEmpty;
    // [D6] acquire: pairs with the release of a grown ring in [D7].
    item = ring_.load(base::acquire)->at(t).load(base::relaxed);
    // [D4] seq_cst: claims the slot, after it was read, for this thread alone. Failure: somebody else did.
    return top_.compare_exchange_strong(t, t + 1, base::seq_cst, base::relaxed) ? Steal::kTaken : Steal::kLost;
  }

  // A recent view, without an order: exact for the owner if nobody steals meanwhile.
  bool seems_empty() const noexcept { return top_.load(base::relaxed) >= bottom_.load(base::relaxed); }

  // [D8] seq_cst: a parker asks this last, after it has shown itself as a sleeper (docs/idle.md).
  bool empty() const noexcept { return top_.load(base::seq_cst) >= bottom_.load(base::seq_cst); }

  // How many items, more or less. relaxed: a statistic.
  std::int64_t backlog() const noexcept {
    const std::int64_t n = bottom_.load(base::relaxed) - top_.load(base::relaxed);
    return n > 0 ? n : 0;
  }

 private:
  void grow_to(std::int64_t capacity) {
    rings_.push_back(std::make_unique<Ring>(capacity));
    ring_.store(rings_.back().get(), base::release);  // [D7] release: the copied slots go with it. Pairs with [D6].
    mask_ = capacity - 1;
  }

  // Old rings live as long as the deque: a slow thief may still read one, and its compare-and-swap then fails.
  void grow(std::int64_t b) {
    Ring* old = ring_.load(base::relaxed);
    auto wider = std::make_unique<Ring>((mask_ + 1) * 2);
    for (std::int64_t i = cached_top_; i < b; ++i) {
      wider->at(i).store(old->at(i).load(base::relaxed), base::relaxed);
    }
    mask_ = wider->mask;
    rings_.push_back(std::move(wider));
    ring_.store(rings_.back().get(), base::release);  // [D7] as above
  }

  alignas(base::kCacheLine) atomic<std::int64_t> top_{0};  // thieves write it
  alignas(base::kCacheLine) atomic<std::int64_t> bottom_{0};  // the owner writes it, and all below
  atomic<Ring*> ring_{nullptr};
  std::int64_t cached_top_ = 0;
  std::int64_t mask_ = 0;
  std::vector<std::unique_ptr<Ring>> rings_;
};

}  // namespace tailrace::queue
