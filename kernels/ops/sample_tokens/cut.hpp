// cut.hpp -- where the kept tokens end: found in the bin that holds the boundary, without sorting the others.
//
// What      `Cut`: a logit and a place among those equal to it; `find_cut` for the top-k, top-p and min-p of a row.
// Why       Sums by bin say which bin the boundary is in; it holds some hundred of 32,000 tokens, halved by quickselect.
// Threads   None.
// Source    Hoare, "Find", 1961, here on sums of weights; the order is by logit, ties by the lower index.
// Checked   tests/kernels/test_sample_tokens.py: kept sets against the sorted reference, equal logits, one bin for all.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>

#include "ops/sample_tokens/cpu.hpp"
#include "ops/sample_tokens/row.hpp"

namespace tailrace::kernels::TAILRACE_ISA {
namespace {

// Kept: logits above `least`, and those equal to it up to the index `last`.
struct Cut {
  float least = -std::numeric_limits<float>::infinity();
  std::size_t last = std::numeric_limits<std::size_t>::max();

  bool keeps(float logit, std::size_t index) const { return logit > least || (logit == least && index <= last); }
};

struct Token {
  float logit;
  std::uint32_t index;
  std::uint64_t weight;
};

struct Likelier {
  bool operator()(const Token& a, const Token& b) const {
    return a.logit > b.logit || (a.logit == b.logit && a.index < b.index);
  }
};

struct Histogram {
  std::uint32_t counts[kBins];
  std::uint64_t masses[kBins];
};

// The tokens of a bin.
inline std::size_t collect(const Row& row, const std::int64_t* weights, std::size_t bin, Token* tokens) {
  std::size_t found = 0, i = 0;
  const auto add = [&](std::size_t at) {
    tokens[found++] = {row.logits[at], static_cast<std::uint32_t>(at), static_cast<std::uint64_t>(weights[at])};
  };
  for (; i + kLanes <= row.tokens; i += kLanes) {
    const F32 x = log2_weight(load(row.logits + i), row.highest, row.scale);
#if TAILRACE_ISA_LEVEL >= 2
    const __m512i bins = _mm512_cvttps_epi32(bin_position(x));
    for (unsigned hits = _mm512_cmpeq_epi32_mask(bins, _mm512_set1_epi32(static_cast<int>(bin))); hits != 0;
         hits &= hits - 1)
      add(i + static_cast<std::size_t>(__builtin_ctz(hits)));
#elif TAILRACE_ISA_LEVEL == 1
    const __m256i equal =
        _mm256_cmpeq_epi32(_mm256_cvttps_epi32(bin_position(x)), _mm256_set1_epi32(static_cast<int>(bin)));
    for (auto hits = static_cast<unsigned>(_mm256_movemask_ps(_mm256_castsi256_ps(equal))); hits != 0; hits &= hits - 1)
      add(i + static_cast<std::size_t>(__builtin_ctz(hits)));
#else
    const I32 bins = __builtin_convertvector(bin_position(x), I32);
    for (std::size_t lane = 0; lane < kLanes; ++lane)
      if (static_cast<std::size_t>(bins[lane]) == bin) add(i + lane);
#endif
  }
  for (; i < row.tokens; ++i)
    if (bin_of(row, row.logits[i]) == bin) add(i);
  return found;
}

// The last token of the shortest run, in order, that weighs at least `mass`; together they do.
inline const Token& end_of_mass(Token* tokens, std::size_t n, std::uint64_t mass) {
  std::size_t from = 0, to = n;
  const bool in_order = std::is_sorted(tokens, tokens + n, Likelier{});  // as where all logits are equal
  while (!in_order && to - from > 32) {
    const std::size_t middle = from + (to - from) / 2;
    std::nth_element(tokens + from, tokens + middle, tokens + to, Likelier{});
    std::uint64_t upper = 0;
    for (std::size_t i = from; i < middle; ++i) upper += tokens[i].weight;
    if (upper >= mass) {
      to = middle;
    } else {
      mass -= upper;
      from = middle;
    }
  }
  if (!in_order) std::sort(tokens + from, tokens + to, Likelier{});
  for (; from + 1 < to && tokens[from].weight < mass; ++from) mass -= tokens[from].weight;
  return tokens[from];
}

// p times the total, rounded up; the product is rounded to a double, so that a tenth of ten equal weights is one of them.
inline std::uint64_t share(std::uint64_t total, double p) {
  const auto wanted = static_cast<std::uint64_t>(std::ceil(static_cast<double>(total) * p));
  return std::clamp(wanted, std::uint64_t{1}, total);
}

inline float smallest_kept(float highest, double temperature, double min_p) {
  const double exact = static_cast<double>(highest) + temperature * std::log(min_p);
  const auto rounded = static_cast<float>(exact);
  return static_cast<double>(rounded) < exact ? std::nextafterf(rounded, std::numeric_limits<float>::infinity())
                                              : rounded;
}

struct Limits {
  double temperature;
  std::uint64_t top_k;  // 0: all
  double top_p;
  double min_p;
};

// Weighs the tokens of the row and says which are kept. `tokens` has room for all of them.
inline Cut find_cut(const Row& row, const Limits& limits, std::int64_t* weights, Histogram& bins, Token* tokens) {
  const bool by_count = limits.top_k != 0 && limits.top_k < row.tokens, by_mass = limits.top_p < 1;
  if (by_count) std::fill(bins.counts, bins.counts + kBins, 0u);
  if (by_mass) std::fill(bins.masses, bins.masses + kBins, std::uint64_t{0});
  if (by_count && by_mass)
    weigh<true, true>(row, weights, bins.counts, bins.masses);
  else if (by_count)
    weigh<true, false>(row, weights, bins.counts, bins.masses);
  else if (by_mass)
    weigh<false, true>(row, weights, bins.counts, bins.masses);
  else
    weigh<false, false>(row, weights, bins.counts, bins.masses);

  Cut cut;
  std::size_t count_bin = kBins, left = 0;  // the bin that the count ends in, and how many of its tokens are kept
  if (by_count) {
    std::uint64_t wanted = limits.top_k;
    std::size_t bin = 0;
    for (; bin < kLastBin && bins.counts[bin] < wanted; ++bin) wanted -= bins.counts[bin];
    if (bin < kLastBin) {
      count_bin = bin;
      left = static_cast<std::size_t>(wanted);
      const std::size_t n = collect(row, weights, bin, tokens);
      if (!std::is_sorted(tokens, tokens + n, Likelier{}))
        std::nth_element(tokens, tokens + (left - 1), tokens + n, Likelier{});
      cut = {tokens[left - 1].logit, tokens[left - 1].index};
    }
  }
  if (by_mass) {
    if (count_bin != kBins) {
      bins.masses[count_bin] = 0;
      for (std::size_t i = 0; i < left; ++i) bins.masses[count_bin] += tokens[i].weight;
      std::fill(bins.masses + count_bin + 1, bins.masses + kBins, std::uint64_t{0});
    }
    std::uint64_t total = 0;
    for (const std::uint64_t mass : bins.masses) total += mass;
    std::uint64_t wanted = share(total, limits.top_p);
    std::size_t bin = 0;
    for (; bins.masses[bin] < wanted; ++bin) wanted -= bins.masses[bin];
    const std::size_t n = bin == count_bin ? left : collect(row, weights, bin, tokens);
    const Token& last = end_of_mass(tokens, n, wanted);
    cut = {last.logit, last.index};
  }
  if (limits.min_p > 0) {
    const float least = smallest_kept(row.highest, limits.temperature, limits.min_p);
    if (least > cut.least) cut = {least, std::numeric_limits<std::size_t>::max()};
  }
  return cut;
}

}  // namespace
}  // namespace tailrace::kernels::TAILRACE_ISA
