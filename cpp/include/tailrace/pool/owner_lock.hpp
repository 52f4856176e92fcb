// owner_lock.hpp -- the owner enters by two plain stores; a rare visitor pays for both.
//
// What      `enter` and `leave` for the one thread that owns a cache; `visit` and `end_visit` for anybody else.
// Why       A hit in a thread's own cache has no locked instruction, and still a purge, a thread short of memory or a forked
//           child may take back what a sleeping thread has cached.
// How       The owner says "inside", then asks whether somebody visits. The visitor says "visiting", makes a membarrier on
//           all cores, then waits until the owner is not inside: one of the two sees the other. Where membarrier is not to
//           be had the owner's first store is a seq_cst exchange.
//           The quick way in, `try_enter`, may be closed: then the owner comes by `enter`, on a way on which it looks at what
//           else there is to do. Closed under a visit, no operation can have begun before and go on unseen after.
// Threads   enter, leave, open_quick_way: the owner. visit: any other; one at a time is let in. A visitor gives up when the
//           owner, paused in the middle, does not leave; an owner waits for a visit to end, which is short.
// Checked   tests/model/owner_lock.cpp (with mutants), tests/stress/pool.cpp.
#pragma once

#include <cstdint>

#include "tailrace/base/atomic.hpp"

namespace tailrace::pool {

template <class Atomics = base::StdAtomics>
class OwnerLock {
 public:
  explicit OwnerLock(bool asymmetric) noexcept : asymmetric_{asymmetric} {}

  // False: the quick way is closed, or somebody visits; the owner is not inside.
  bool try_enter() noexcept {
    inside_.store(1, base::relaxed);  // relaxed: ordered before [PO1] by the visitor's membarrier
    Atomics::keep_order();
    // [PO1] seq_cst: with [PO4], one of the two sees the other; and what a visitor did, who ended by [PO5], is seen.
    if (__builtin_expect(closed_.load(base::seq_cst) == 0, 1)) return true;
    leave();
    return false;
  }
  void enter() noexcept {
    for (;;) {
      if (asymmetric_) {
        inside_.store(1, base::relaxed);  // relaxed: as in `try_enter`
        Atomics::keep_order();
      } else {
        inside_.exchange(1, base::seq_cst);  // [PO6] seq_cst: before [PO1], with [PO3] and [PO4]
      }
      if ((closed_.load(base::seq_cst) & kVisited) == 0) return;  // [PO1]
      leave();
      while ((closed_.load(base::relaxed) & kVisited) != 0) Atomics::yield();  // relaxed: [PO1] looks again
    }
  }

  // [PO2] release: what the owner did inside is seen by the visitor that reads it at [PO4].
  void leave() noexcept { inside_.store(0, base::release); }

  // The owner's things are the caller's until `end_visit`; false: another visits, or the owner stays inside.
  bool visit(int patience) noexcept {
    // [PO3] seq_cst: one visitor at a time, who sees what the last did; before the look at `inside` when the owner pays by
    // an exchange.
    if ((closed_.fetch_or(kVisited, base::seq_cst) & kVisited) != 0) return false;
    if (!asymmetric_ || Atomics::membarrier()) {
      for (int i = 0; i < patience; ++i) {
        // [PO4] seq_cst: with [PO1]; acquires what the owner did, which [PO2] released.
        if (inside_.load(base::seq_cst) == 0) return true;
        if (i < kSpins) {
          Atomics::pause();
        } else {
          Atomics::yield();
        }
      }
    }
    end_visit();
    return false;
  }
  // [PO5] release: what the visitor did; pairs with [PO1] and [PO3].
  void end_visit() noexcept { closed_.fetch_and(~kVisited, base::release); }

  // By a visitor, or before there is an owner. Without a membarrier the way is always closed.
  void close_quick_way() noexcept { closed_.fetch_or(kSlow, base::relaxed); }  // relaxed: the visit orders it
  // relaxed (both): the owner's own doing, or told to it by [PO1].
  void open_quick_way() noexcept { closed_.fetch_and(~kSlow, base::relaxed); }
  bool may_open_quick_way() const noexcept { return asymmetric_ && (closed_.load(base::relaxed) & kSlow) != 0; }

  // In a forked child: was a thread that does not exist there in the middle of something?
  bool torn() const noexcept {
    return inside_.load(base::relaxed) != 0 || (closed_.load(base::relaxed) & kVisited) != 0;  // relaxed: one thread
  }

 private:
  static constexpr std::uint32_t kVisited = 1;
  static constexpr std::uint32_t kSlow = 2;  // the quick way in is closed
  static constexpr int kSpins = 64;

  const bool asymmetric_;
  typename Atomics::template atomic<std::uint32_t> inside_{0};
  typename Atomics::template atomic<std::uint32_t> closed_{kSlow};
};

}  // namespace tailrace::pool
