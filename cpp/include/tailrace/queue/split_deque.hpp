// split_deque.hpp -- a stack that its owner keeps to itself, with a public end from which others steal.
//
// What      A plain private stack in front of a Chase-Lev deque. The owner shares the older half when somebody asked.
// Why       A forked child is nearly always taken back by who forked it: that path is four plain accesses and one look
//           at a word that nobody else writes; the Chase-Lev pair is two locked instructions (docs/decisions/0007).
// Threads   push, is_mine, drop, share, take: the owner. steal, want, nothing_public: any thread.
// ABA       The only shared structure is the Chase-Lev deque (see there); `limit_` is a hint, and no decision rests on it.
// Source    Dinan et al. 2009, "Scalable Work Stealing"; van Dijk, van de Pol 2014, "Lace" (split point, request flag).
// Checked   tests/model/split_deque.cpp (owner and two thieves, with mutants), tests/stress/fork_join.cpp.
#pragma once

#include <algorithm>
#include <cstddef>
#include <memory>
#include <vector>

#include "tailrace/base/atomic.hpp"
#include "tailrace/base/cache_line.hpp"
#include "tailrace/queue/steal_deque.hpp"

namespace tailrace::queue {

template <class T, class Atomics = base::StdAtomics>
class SplitDeque {
  template <class U>
  using atomic = typename Atomics::template atomic<U>;

 public:
  // `shares`: others may steal. If not, the public end only takes what the private stack has no room for.
  explicit SplitDeque(bool shares, std::size_t capacity = 1024, std::int64_t public_capacity = 64)
      : slots_{new T*[capacity + 1]},
        begin_{slots_.get() + 1},
        end_{begin_ + capacity},
        base_{begin_},
        top_{begin_},
        shares_{shares},
        public_{public_capacity} {
    slots_[0] = nullptr;
    // relaxed (all uses of `limit_`): a hint; what it leads to is published by the Chase-Lev deque.
    limit_.store(shares ? nullptr : end_ - 1, base::relaxed);
  }
  SplitDeque(const SplitDeque&) = delete;
  SplitDeque& operator=(const SplitDeque&) = delete;

  // Returns where the item lies, as long as it is private. `must_share` has to be asked next.
  T** push(T* item) noexcept {
    T** const slot = top_;
    *slot = item;
    top_ = slot + 1;
    return slot;
  }
  // Somebody asked for work, or the stack is full: `share` must be called before the next push.
  bool must_share() const noexcept { return top_ > limit_.load(base::relaxed); }

  // Is `item`, which was pushed to `slot`, the newest of all and still private?
  bool is_mine(T* const* slot, const T* item) const noexcept { return top_ == slot + 1 && *slot == item; }
  void drop(T** slot) noexcept { top_ = slot; }  // forgets the newest item, which is_mine

  // Makes the older half public. When memory runs out, what could not be made public stays private; if there is no
  // room for it either, throws std::bad_alloc and has forgotten the newest item.
  void share() {
    limit_.store(end_ - 1, base::relaxed);  // before the items become public: who asks from here on asks again
    try {
      for (std::ptrdiff_t n = (top_ - base_ + 1) / 2; n > 0; --n) {
        public_.push(*base_);
        *base_++ = nullptr;  // so that `is_mine` is false for it
      }
    } catch (...) {
      if (top_ == end_ && base_ == begin_) {
        --top_;
        throw;
      }
    }
    if (base_ == top_ || top_ == end_) {
      top_ = std::copy(base_, top_, begin_);
      base_ = begin_;
    }
  }

  // Takes the newest item that `fits`, wherever it lies; null when there is none.
  template <class Fits>
  T* take(Fits&& fits) {
    for (T** slot = top_; slot-- > base_;) {
      if (!fits(*slot)) continue;
      T* const item = *slot;
      top_ = std::copy(slot + 1, top_, slot);
      return item;
    }
    T* item = nullptr;
    bool found = false;
    std::vector<T*> others;  // newer than what we look for: rare
    while (!found && public_.pop(item)) {
      found = fits(item);
      if (!found) others.push_back(item);
    }
    while (!others.empty()) {
      public_.push(others.back());
      others.pop_back();
    }
    if (shares_ && public_.seems_empty()) want();  // keep something public: a long body may follow the next push
    return found ? item : nullptr;
  }

  bool nothing_mine() const noexcept { return top_ == base_ && public_.seems_empty(); }
  bool nothing_private() const noexcept { return top_ == base_; }

  // Takes the oldest public item. When there is none, or it was the last, the owner is asked to share.
  Steal steal(T*& item) noexcept {
    const Steal how = public_.steal(item);
    if (how == Steal::kEmpty || (how == Steal::kTaken && public_.seems_empty())) want();
    return how;
  }
  void want() noexcept {
    if (limit_.load(base::relaxed) != nullptr) limit_.store(nullptr, base::relaxed);
  }
  bool nothing_public() const noexcept { return public_.empty(); }

 private:
  // The owner's, but for `limit_`.
  const std::unique_ptr<T*[]> slots_;
  T** const begin_;  // begin_[-1] and base_[-1] are null
  T** const end_;
  T** base_;  // the oldest private item
  T** top_;  // behind the newest
  const bool shares_;
  alignas(base::kCacheLine) atomic<T**> limit_;  // null: somebody asked for work
  StealDeque<T*, Atomics> public_;
};

}  // namespace tailrace::queue
