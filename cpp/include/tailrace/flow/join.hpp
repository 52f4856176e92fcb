// join.hpp -- what two threads on one run share: join counters, the stack of ready nodes, the mark, the references.
//
// What      `JoinCounter`: how many predecessors are still to come. `ReadyStack`: nodes that any participant may take.
//           `SharedMark`: the run is no longer one thread's alone. `References`: who is the last to hold it.
// Why       Kept apart from the run, so that they are model-checked by themselves.
// Threads   Any participant of the run; a participant holds a reference to it.
// ABA       ReadyStack carries a tag that every change bumps; a node index alone could come back.
// Source    Treiber 1986 (the stack); IBM System/370 Principles of Operation (the tag).
// Checked   tests/model/run.cpp (with mutants), tests/stress/scheduler.cpp.
#pragma once

#include <cstdint>

#include "tailrace/base/atomic.hpp"

namespace tailrace::flow {

template <class Atomics = base::StdAtomics>
class JoinCounter {
 public:
  void arm(std::uint32_t predecessors) noexcept {
    left_.store(predecessors, base::relaxed);  // relaxed: the next run of this block starts after this one has ended
  }

  // For who has the run to itself, and counts anew (relaxed, all: published when the run is shared, [J4]).
  void expect_one_more() noexcept { left_.store(left_.load(base::relaxed) + 1, base::relaxed); }
  bool expects_none() const noexcept { return left_.load(base::relaxed) == 0; }

  // One predecessor has finished; true for the last one, which arms the counter for the next run.
  bool arrive(std::uint32_t predecessors) noexcept {
    // [J1] acquire: the last to arrive sees what the others wrote before [J2]. One left means: only we are missing.
    if (left_.load(base::acquire) != 1) {
      // [J2] acq_rel: releases this predecessor's results to the last one, acquires the others' if that is us.
      if (left_.fetch_sub(1, base::acq_rel) != 1) return false;
    }
    arm(predecessors);
    return true;
  }

 private:
  typename Atomics::template atomic<std::uint32_t> left_{0};
};

template <class Atomics = base::StdAtomics>
class ReadyStack {
 public:
  using Link = typename Atomics::template atomic<std::uint32_t>;
  static constexpr std::uint32_t kNone = UINT32_MAX;

  // `links` has one slot for each node and belongs to the stack.
  explicit ReadyStack(Link* links) noexcept : links_{links} {}

  void link(std::uint32_t node, std::uint32_t below) noexcept {
    links_[node].store(below, base::relaxed);  // relaxed: published by push, and a stale read fails its exchange
  }

  // Pushes a chain `top` .. `bottom` that `link` has tied together.
  void push(std::uint32_t top, std::uint32_t bottom) noexcept {
    std::uint64_t seen = head_.load(base::relaxed);  // relaxed: a guess; the exchange re-reads it
    do {
      link(bottom, index(seen));
      // [R1] release: the links and the results that made these nodes ready. Pairs with [R2].
    } while (!head_.compare_exchange_weak(seen, next(seen, top), base::release, base::relaxed));
  }

  std::uint32_t pop() noexcept {
    std::uint32_t node = kNone;
    return pop_some(&node, 1) == 1 ? node : kNone;
  }

  // Takes up to `most` nodes into `out`, the top first, by one exchange; returns how many.
  std::uint32_t pop_some(std::uint32_t* out, std::uint32_t most) noexcept {
    std::uint64_t seen = head_.load(base::acquire);  // [R2] acquire: pairs with [R1]
    for (;;) {
      std::uint32_t count = 0;
      std::uint32_t below = index(seen);
      while (below != kNone && count < most) {
        out[count++] = below;
        below = links_[below].load(base::relaxed);  // relaxed: stale only if the tag has moved
      }
      if (count == 0) return 0;
      // [R2] acquire, both: a failed attempt goes on with what it read. Popping publishes nothing that is read later
      // without [R1], but it must not break the release sequence of the push below: a read-modify-write keeps it.
      if (head_.compare_exchange_weak(seen, next(seen, below), base::acquire, base::acquire)) return count;
    }
  }

  bool empty() const noexcept { return index(head_.load(base::relaxed)) == kNone; }  // relaxed: a hint

 private:
  static std::uint32_t index(std::uint64_t word) noexcept { return static_cast<std::uint32_t>(word) - 1; }
  static std::uint64_t next(std::uint64_t word, std::uint32_t node) noexcept {
    return (((word >> 32) + 1) << 32) | static_cast<std::uint32_t>(node + 1);
  }

  typename Atomics::template atomic<std::uint64_t> head_{0};
  Link* links_;
};

// Set by who has the run to itself, when others may take part.
template <class Atomics = base::StdAtomics>
class SharedMark {
 public:
  void clear() noexcept { is_set_.store(false, base::relaxed); }  // relaxed: nobody else holds the run then
  void set() noexcept {
    is_set_.store(true, base::release);  // [J4] release: counters that fit what has fired. Pairs with [J3].
  }
  bool is_set() const noexcept { return is_set_.load(base::acquire); }  // [J3] acquire: pairs with [J4]

 private:
  typename Atomics::template atomic<bool> is_set_{false};
};

template <class Atomics = base::StdAtomics>
class References {
 public:
  void set(std::uint32_t count) noexcept { count_.store(count, base::relaxed); }  // relaxed: not shared now
  void retain() noexcept { count_.fetch_add(1, base::relaxed); }  // relaxed: the caller holds one already

  // True for the last, who sees what all others did before they let go.
  bool release() noexcept {
    if (count_.load(base::acquire) == 1) return true;  // [K2] acquire: ours is left, and nobody can make another
    return count_.fetch_sub(1, base::acq_rel) == 1;    // [K2] acq_rel: pairs with itself and the line above
  }

 private:
  typename Atomics::template atomic<std::uint32_t> count_{0};
};

}  // namespace tailrace::flow
