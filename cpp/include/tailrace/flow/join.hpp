// join.hpp -- the three small lock-free parts of a run: join counters, the ready stack, the ending.
//
// What      `JoinCounter`: how many predecessors are still to come. `ReadyStack`: nodes that any participant may take.
//           `Ending`: the outcome, fixed once, and a word to sleep on until then.
// Why       They are all that two threads on one run share, so they are kept apart and model-checked by themselves.
// Threads   Any participant of the run; a participant holds a reference to it.
// ABA       ReadyStack carries a tag that every change bumps; a node index alone could come back.
// Source    Treiber 1986 (the stack); IBM System/370 Principles of Operation (the tag).
// Checked   tests/model/run.cpp (with mutants), tests/stress/scheduler.cpp.
#pragma once

#include <cstdint>

#include "tailrace/base/atomic.hpp"
#include "tailrace/base/clock.hpp"
#include "tailrace/base/outcome.hpp"

namespace tailrace::flow {

template <class Atomics = base::StdAtomics>
class JoinCounter {
 public:
  void arm(std::uint32_t predecessors) noexcept {
    left_.store(predecessors, base::relaxed);  // relaxed: the next run of this block starts after this one has ended
  }

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
    std::uint64_t seen = head_.load(base::acquire);  // [R2] acquire: pairs with [R1]
    while (index(seen) != kNone) {
      const std::uint32_t below = links_[index(seen)].load(base::relaxed);  // relaxed: stale only if the tag has moved
      // [R2] acquire, both: a failed attempt goes on with what it read. Popping publishes nothing that is read later
      // without [R1], but it must not break the release sequence of the push below: a read-modify-write keeps it.
      if (head_.compare_exchange_weak(seen, next(seen, below), base::acquire, base::acquire)) return index(seen);
    }
    return kNone;
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

template <class Atomics = base::StdAtomics>
class Ending {
 public:
  // Only between runs, when nobody else holds the run.
  void rearm() noexcept {
    // relaxed (both): not shared now
    outcome_.store(static_cast<std::uint32_t>(base::Outcome::kPending), base::relaxed);
    signal_.store(kOpen, base::relaxed);
  }

  base::Outcome outcome() const noexcept {
    return static_cast<base::Outcome>(outcome_.load(base::acquire));  // [O1] acquire: pairs with [O2]
  }

  bool is_open() const noexcept {
    // relaxed: a participant that misses an ending made just now runs one step more, which is allowed
    return outcome_.load(base::relaxed) == static_cast<std::uint32_t>(base::Outcome::kPending);
  }

  // Fixes the outcome; true for the one caller that did. It then stores what belongs to it and calls `announce`.
  bool fix(base::Outcome outcome) noexcept {
    auto expected = static_cast<std::uint32_t>(base::Outcome::kPending);
    // [O2] acq_rel: what the run has produced is seen by who sees its outcome ([O1]). Failure: somebody else did it.
    return outcome_.compare_exchange_strong(expected, static_cast<std::uint32_t>(outcome), base::acq_rel,
                                            base::relaxed);
  }

  // Wakes the waiters. After this the caller must hold a reference to touch the run again.
  void announce() noexcept {
    // [O3] acq_rel: releases the result to [O4]; whether somebody sleeps is decided by this exchange.
    if (signal_.exchange(kDone, base::acq_rel) == kSlept) Atomics::unpark(signal_, INT32_MAX);
  }

  bool announced() const noexcept { return signal_.load(base::acquire) == kDone; }  // [O4] acquire: pairs with [O3]

  // Sleeps until announced, or for at most `timeout_ns` (< 0: for ever); true if announced. May return early.
  bool wait_once(std::int64_t timeout_ns) {
    std::uint32_t seen = signal_.load(base::acquire);  // [O4] acquire: pairs with [O3]
    if (seen == kOpen) {
      // [O4] acquire, both: as above, in case it was announced in between.
      if (signal_.compare_exchange_strong(seen, kSlept, base::acquire, base::acquire)) seen = kSlept;
    }
    if (seen == kSlept) Atomics::park(signal_, kSlept, timeout_ns);
    return announced();
  }

 private:
  static constexpr std::uint32_t kOpen = 0;
  static constexpr std::uint32_t kSlept = 1;  // somebody may be asleep
  static constexpr std::uint32_t kDone = 2;

  typename Atomics::template atomic<std::uint32_t> outcome_{0};
  typename Atomics::template atomic<std::uint32_t> signal_{0};
};

}  // namespace tailrace::flow
