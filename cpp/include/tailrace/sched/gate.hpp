// gate.hpp -- a permit to run the tasks of a lane: hold it once, drain many, hand it on before a long body.
//
// What      One word: free; held; or held by a worker that is inside a body, which others may take over (open: a
//           long or unknown body) or may not until the watch says so (closed: a body known to be short).
// Why       The GIL, a GPU stream or a licence admits one at a time. A worker that waits for such a thing while others
//           wait too makes a convoy; here at most one worker waits, and it runs all that is ready once it is in.
// Threads   try_acquire: any worker. enter_body, leave_body, release: the holder, with its ticket. force_open: the watch.
// ABA       Every acquisition has a new generation, so a late holder cannot be taken for the present one.
// Checked   tests/model/gate.cpp (two workers and a producer, with mutants), tests/stress/scheduler.cpp.
#pragma once

#include <cstdint>

#include "tailrace/base/atomic.hpp"
#include "tailrace/base/cache_line.hpp"

namespace tailrace::sched {

template <class Atomics = base::StdAtomics>
class BasicGate {
 public:
  using Ticket = std::uint64_t;  // 0: none

  // Takes a free or an open permit; 0 when another worker holds it and will look at the lane again.
  Ticket try_acquire() noexcept {
    std::uint64_t word = word_.load(base::relaxed);  // relaxed: a guess; the exchange re-reads it
    while (takeable(word)) {
      const Ticket mine = ((word | kStateMask) + 1) | kHeld;
      // [G1] seq_cst: acquires what the last holder did to the lane ([G2], [G3]), releases to whoever takes it next;
      // and the watch, before it sleeps, sees this or is seen asleep by the taker.
      if (word_.compare_exchange_weak(word, mine, base::seq_cst, base::relaxed)) return mine;
    }
    return 0;
  }

  // Goes on with the permit as if newly acquired, so that the watch does not take two short bodies for a long one.
  Ticket renew(Ticket ticket) noexcept {
    const Ticket mine = ((ticket | kStateMask) + 1) | kHeld;
    word_.store(mine, base::relaxed);  // relaxed: nobody else changes a held word, and nothing is handed over
    return mine;
  }

  // Before a body. Open: others may take the permit over, and the caller then checks the lane and notifies.
  void enter_body(Ticket ticket, bool open) noexcept {
    // [G2] seq_cst: releases the lane to [G1]; and the holder's look at the lane must not come before this.
    if (open) return word_.store(with(ticket, kOpen), base::seq_cst);
    word_.store(with(ticket, kClosed), base::release);  // [G2] release: the watch may open it for [G1]
  }

  // After the body: true if the permit is still ours.
  bool leave_body(Ticket ticket) noexcept {
    std::uint64_t seen = word_.load(base::relaxed);  // relaxed: a guess; the exchange re-reads it
    while (seen == with(ticket, kClosed) || seen == with(ticket, kOpen)) {
      // [G1] acq_rel: as there. Failure: the watch opened it, or somebody took it; nothing is read: relaxed.
      if (word_.compare_exchange_weak(seen, ticket, base::acq_rel, base::relaxed)) return true;
    }
    return false;
  }

  // What the watch remembers between two looks; 0 when no short body is running.
  std::uint64_t closed_body() const noexcept {
    const std::uint64_t word = word_.load(base::relaxed);  // relaxed: compared with itself later
    return (word & kStateMask) == kClosed ? word : 0;
  }

  // Changes with every acquisition. relaxed: compared with itself later.
  std::uint64_t generation() const noexcept { return word_.load(base::relaxed) & ~kStateMask; }

  // What `closed_body` says while the holder of `ticket` is inside a short one.
  static std::uint64_t closed_word(Ticket ticket) noexcept { return with(ticket, kClosed); }

  // A body that was known as short is long after all: opens it, unless it has just ended.
  bool force_open(std::uint64_t closed) noexcept {
    // [G1] seq_cst: carries [G2] on to the next holder; and the watch's look at the lane must not come before this,
    // as a pusher that still sees the body closed wakes nobody.
    return word_.compare_exchange_strong(closed, with(closed, kOpen), base::seq_cst, base::relaxed);
  }

  // Gives the permit up. The caller then checks the lane once more, as pushers skipped the wake while it was held.
  void release(Ticket ticket) noexcept {
    // [G3] seq_cst: as [G2]
    word_.store(with(ticket, kFree), base::seq_cst);
  }

  // [G4] seq_cst: a pusher asks after its push; if it sees the permit held, the holder's later look sees the push.
  bool can_acquire() const noexcept { return takeable(word_.load(base::seq_cst)); }

 private:
  static constexpr std::uint64_t kStateMask = 3;
  static constexpr std::uint64_t kFree = 0;
  static constexpr std::uint64_t kHeld = 1;
  static constexpr std::uint64_t kOpen = 2;
  static constexpr std::uint64_t kClosed = 3;

  static bool takeable(std::uint64_t word) noexcept {
    return (word & kStateMask) == kFree || (word & kStateMask) == kOpen;
  }
  static std::uint64_t with(std::uint64_t word, std::uint64_t state) noexcept { return (word & ~kStateMask) | state; }

  alignas(base::kCacheLine) typename Atomics::template atomic<std::uint64_t> word_{kFree};
};

using Gate = BasicGate<>;

}  // namespace tailrace::sched
