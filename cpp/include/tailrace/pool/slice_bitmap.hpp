// slice_bitmap.hpp -- which slices of a range are taken: one bit each, claimed and given back without a lock.
//
// What      `claim` finds the first gap of n slices and takes it, `give` returns a run; neighbours need no joining, a gap is
//           just zeros. A run over several words is claimed word by word and rolled back when one word refuses.
// Why       No lock that a paused thread could hold; and what was given back coalesces by itself.
// Threads   All members: any thread. A slice belongs to who claimed it until that thread, or whom it told, gives it back.
// Verdict   "No gap" is said only of a search during which nobody rolled back or gave back, and beside which no claim of
//           several words was half done: such a claim shows bits that it may yet withdraw.
//           After 64 searches beside traffic it is said all the same, or who asks for too much would never be answered.
// ABA       A bit that was given back and claimed again between a look and the CAS makes the CAS fail or is free again:
//           the CAS asks for the bits, not for the word's history.
// Checked   tests/model/slice_bitmap.cpp (with mutants), tests/cpp/pool/test_slice_bitmap.cpp (beside a shadow).
#pragma once

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>

#include "tailrace/base/atomic.hpp"

namespace tailrace::pool {

inline constexpr std::size_t kNone = static_cast<std::size_t>(-1);

template <class Atomics = base::StdAtomics>
class SliceBitmap {
 public:
  using Word = typename Atomics::template atomic<std::uint64_t>;

  // Before anything else: `words` are zero and outlive the bitmap, one for each 64 slices.
  void attach(Word* words, std::size_t slices) noexcept {
    words_ = words;
    slices_ = slices;
  }

  std::size_t slices() const noexcept { return slices_; }

  // The first of `n` free slices in a row, at a multiple of `align`, now the caller's; kNone: there are none.
  std::size_t claim(std::size_t n, std::size_t align) noexcept {
    for (int looks = 0;;) {
      // [PB5] acquire: with the later looks at both, a withdrawal that this search may have seen before is not missed.
      const std::uint64_t seen = withdrawn_.load(base::acquire);
      bool lost = false;
      const std::size_t found = search(n, align, lost);
      if (found != kNone) return found;
      // [PB4] acquire: pairs with the end of a claim; comes before the second look at the withdrawals, which that claim
      // counted before it ended.
      const bool half_done = claiming_.load(base::acquire) != 0;
      if (!lost && !half_done && withdrawn_.load(base::acquire) == seen) return kNone;  // [PB5]
      if (!half_done && ++looks == kLooks) return kNone;
      Atomics::yield();
    }
  }

  // Takes exactly [first, first + n) if all of it is free.
  bool claim_at(std::size_t first, std::size_t n) noexcept {
    if (first / 64 == (first + n - 1) / 64) return claim_bits(first / 64, mask(first % 64, n));
    claiming_.fetch_add(1, base::acq_rel);  // [PB3] acq_rel: before the first bit that may be withdrawn, for [PB4]
    const bool all = claim_words(first, n);
    claiming_.fetch_sub(1, base::release);  // [PB3] release: after the withdrawal was counted, for [PB4]
    return all;
  }

  void give(std::size_t first, std::size_t n) noexcept {
    give_words(first, n);
    withdrawn_.fetch_add(1,
                         base::release);  // [PB5] release: after the bits, so that a search that saw them looks again
  }

  // A claim for a short time, at the end of which `return_loan` gives the run back as it was: no verdict falls meanwhile.
  bool borrow_at(std::size_t first, std::size_t n) noexcept {
    claiming_.fetch_add(1, base::acq_rel);  // [PB3] acq_rel: as in `claim_at`
    if (claim_words(first, n)) return true;
    claiming_.fetch_sub(1, base::release);  // [PB3] release: as in `claim_at`
    return false;
  }
  void return_loan(std::size_t first, std::size_t n) noexcept {
    give(first, n);
    claiming_.fetch_sub(1, base::release);  // [PB3] release: as in `claim_at`
  }

  bool taken(std::size_t slice) const noexcept {
    return (words_[slice / 64].load(base::relaxed) >> (slice % 64) & 1) != 0;  // relaxed: for statistics and tests
  }
  std::uint64_t word(std::size_t w) const noexcept { return words_[w].load(base::relaxed); }  // as above
  std::size_t words() const noexcept { return (slices_ + 63) / 64; }

  // In a forked child, where claims of other threads have stopped for ever.
  void forget_claims() noexcept { claiming_.store(0, base::relaxed); }  // relaxed: the child has one thread

  // Bits [from, from + n) of a word.
  static constexpr std::uint64_t mask(std::size_t from, std::size_t n) noexcept {
    return (n >= 64 ? ~std::uint64_t{0} : (std::uint64_t{1} << n) - 1) << from;
  }

 protected:
  // One look, whose "none" is no verdict; `lost`: somebody was quicker.
  std::size_t search(std::size_t n, std::size_t align, bool& lost) noexcept {
    std::size_t at = 0;
    while (at + n <= slices_) {
      at = (next(at, slices_, false) + align - 1) / align * align;
      if (at + n > slices_) break;
      const std::size_t end = next(at, at + n, true);
      if (end < at + n) {
        at = end + 1;
      } else if (claim_at(at, n)) {
        return at;
      } else {
        lost = true;  // to somebody who was quicker: look again from here
        ++at;
      }
    }
    return kNone;
  }

 private:
  static constexpr int kLooks = 64;

  // The first slice in [from, to) whose bit is `set`; `to` when there is none.
  std::size_t next(std::size_t from, std::size_t to, bool set) const noexcept {
    for (std::size_t w = from / 64; from < to; from = ++w * 64) {
      // [PB6] acquire: only a guess at where to try, the claim decides; but whose bits were seen, of that claim it is also
      // seen that it is half done, and what its maker gave back before. Pairs with the release of a claim.
      std::uint64_t bits = words_[w].load(base::acquire);
      if (!set) bits = ~bits;
      bits &= ~std::uint64_t{0} << (from % 64);
      if (bits != 0) {
        const std::size_t at = w * 64 + static_cast<std::size_t>(std::countr_zero(bits));
        return at < to ? at : to;
      }
    }
    return to;
  }

  bool claim_bits(std::size_t w, std::uint64_t bits) noexcept {
    std::uint64_t seen = words_[w].load(base::relaxed);  // relaxed: a guess; the exchange re-reads it
    do {
      if ((seen & bits) != 0) return false;
      // [PB1] acquire: what the last holder of these slices did comes before; pairs with [PB2]. [PB6] release: for a search
      // that sees the bits. A failure takes nothing.
    } while (!words_[w].compare_exchange_weak(seen, seen | bits, base::acq_rel, base::relaxed));
    return true;
  }

  bool claim_words(std::size_t first, std::size_t n) noexcept {
    std::size_t at = first;
    while (at < first + n) {
      const std::size_t part = std::min(64 - at % 64, first + n - at);
      if (!claim_bits(at / 64, mask(at % 64, part))) {
        if (at != first) {
          give_words(first, at - first);
          withdrawn_.fetch_add(1, base::release);  // [PB5] release: as in `give`
        }
        return false;
      }
      at += part;
    }
    return true;
  }

  void give_words(std::size_t first, std::size_t n) noexcept {
    for (std::size_t at = first; at < first + n;) {
      const std::size_t part = std::min(64 - at % 64, first + n - at);
      // [PB2] release: the holder's use of the slices comes before the next claim; pairs with [PB1].
      words_[at / 64].fetch_and(~mask(at % 64, part), base::release);
      at += part;
    }
  }

  Word* words_ = nullptr;
  std::size_t slices_ = 0;
  typename Atomics::template atomic<std::uint64_t> withdrawn_{0};
  typename Atomics::template atomic<std::uint64_t> claiming_{0};
};

}  // namespace tailrace::pool
