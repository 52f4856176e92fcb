// ranked_set.hpp -- ready nodes by rank: any participant takes the most urgent one.
//
// What      A bit for each rank, and a bit for each word of those that may hold one; the lowest rank is taken first.
// Why       With several processors and long bodies the order among ready nodes decides when the plan ends; a queue
//           behind a lock would stop everybody when its holder is descheduled.
// Threads   Any participant of the run.
// ABA       A bit is set or not; whoever clears it owns the node. A rank comes back only in the next run.
// Source    van Emde Boas 1975, "Preserving Order in a Forest in Less Than Logarithmic Time" (the summary of words).
// Checked   tests/model/run.cpp (with mutants), tests/cpp/flow/test_ready.cpp.
#pragma once

#include <cstddef>
#include <cstdint>

#include "tailrace/base/atomic.hpp"

namespace tailrace::flow {

template <class Atomics = base::StdAtomics>
class RankedSet {
 public:
  using Word = typename Atomics::template atomic<std::uint64_t>;
  static constexpr std::uint32_t kNone = UINT32_MAX;

  static std::size_t word_count(std::size_t ranks) noexcept { return leaves(ranks) + leaves(leaves(ranks)); }

  // `words` has word_count(ranks) zeros and belongs to the set.
  RankedSet(Word* words, std::size_t ranks) noexcept
      : leaves_{words}, summary_{words + leaves(ranks)}, summaries_{leaves(leaves(ranks))} {}

  void put(std::uint32_t rank) noexcept {
    const std::size_t leaf = rank / 64;
    // [R3] seq_cst: releases what made the node ready; stands before the look at the summary.
    leaves_[leaf].fetch_or(bit(rank), base::seq_cst);
    Word& summary = summary_[leaf / 64];
    // [R4] seq_cst, both: we see the mark gone and set it, or who cleared it sees our bit ([R5]).
    if ((summary.load(base::seq_cst) & bit(leaf)) == 0) summary.fetch_or(bit(leaf), base::seq_cst);
  }

  // The most urgent rank, or kNone when nothing was seen.
  std::uint32_t take() noexcept {
    for (std::size_t group = 0; group < summaries_; ++group) {
      Word& summary = summary_[group];
      std::uint64_t marked = summary.load(base::relaxed);  // relaxed: a guess; the bits below decide
      while (marked != 0) {
        const std::size_t leaf = group * 64 + static_cast<std::size_t>(__builtin_ctzll(marked));
        const std::uint32_t rank = take_from(leaf);
        if (rank != kNone) return rank;
        // [R5] seq_cst, both: the mark goes, then the word is looked at once more ([R3], [R4]).
        summary.fetch_and(~bit(leaf), base::seq_cst);
        if (leaves_[leaf].load(base::seq_cst) != 0) {
          summary.fetch_or(bit(leaf), base::seq_cst);  // [R4] as above
        } else {
          marked &= ~bit(leaf);
        }
      }
    }
    return kNone;
  }

  bool empty() const noexcept {
    for (std::size_t group = 0; group < summaries_; ++group) {
      if (summary_[group].load(base::relaxed) != 0) return false;  // relaxed: a hint
    }
    return true;
  }

 private:
  static std::size_t leaves(std::size_t ranks) noexcept { return (ranks + 63) / 64; }
  static std::uint64_t bit(std::size_t i) noexcept { return std::uint64_t{1} << (i % 64); }

  std::uint32_t take_from(std::size_t leaf) noexcept {
    std::uint64_t seen = leaves_[leaf].load(base::relaxed);  // relaxed: a guess; the exchange below decides
    while (seen != 0) {
      const int lowest = __builtin_ctzll(seen);
      // [R6] acquire: who clears the bit owns the node, with all that made it ready. Pairs with [R3].
      const std::uint64_t before = leaves_[leaf].fetch_and(~(std::uint64_t{1} << lowest), base::acquire);
      if ((before >> lowest & 1) != 0)
        return static_cast<std::uint32_t>(leaf * 64) + static_cast<std::uint32_t>(lowest);
      seen = before;
    }
    return kNone;
  }

  Word* leaves_;
  Word* summary_;
  std::size_t summaries_;
};

}  // namespace tailrace::flow
