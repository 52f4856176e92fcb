// row.hpp -- passes over the tokens of one row, as wide as the level is.
//
// What      `look`: the highest logit, and whether all are valid; `weigh`: weights, and their sums by bin; `kept_sum`.
// Why       A bin is a 24th of a power of two, a whole number got by truncation: its order is that of the logits.
// Threads   None.
// Checked   tests/cpp/kernels/test_sample_tokens.cpp: every length around the width of a vector.
#pragma once

#include <cstddef>
#include <cstdint>

#include "ops/sample_tokens/weights.hpp"

namespace tailrace::kernels::TAILRACE_ISA {
namespace {

inline constexpr std::size_t kBins = 1024;   // the last that is used holds what weighs nothing
inline constexpr float kBinsPerUnit = 24.0f;
inline constexpr std::size_t kLastBin = 1020;  // 42.5 * 24
inline constexpr std::size_t kChunk = 256;     // tokens

struct Row {
  const float* logits;
  std::size_t tokens;
  float highest;
  float scale;  // log2(e) / temperature
};

struct Look {
  float highest;
  bool nan;
};

inline Look look(const float* logits, std::size_t tokens) {
  F32 highest[4];
  for (auto& part : highest) part = splat(-__builtin_inff());
  bool nan = false;
  std::size_t i = 0;
  for (; i + 4 * kLanes <= tokens; i += 4 * kLanes) {
    F32 values[4];
    for (std::size_t v = 0; v < 4; ++v) {
      values[v] = load(logits + i + v * kLanes);
      highest[v] = max(highest[v], values[v]);
    }
#if TAILRACE_ISA_LEVEL >= 2
    nan |= (_mm512_cmp_ps_mask(values[0], values[1], _CMP_UNORD_Q) |
            _mm512_cmp_ps_mask(values[2], values[3], _CMP_UNORD_Q)) != 0;
#elif TAILRACE_ISA_LEVEL == 1
    nan |= _mm256_movemask_ps(_mm256_or_ps(_mm256_cmp_ps(values[0], values[1], _CMP_UNORD_Q),
                                           _mm256_cmp_ps(values[2], values[3], _CMP_UNORD_Q))) != 0;
#else
    const I32 bad =
        (values[0] != values[0]) | (values[1] != values[1]) | (values[2] != values[2]) | (values[3] != values[3]);
    for (std::size_t lane = 0; lane < kLanes; ++lane) nan |= bad[lane] != 0;
#endif
  }
  float lanes[4 * kLanes];
  for (std::size_t v = 0; v < 4; ++v) store(lanes + v * kLanes, highest[v]);
  float most = lanes[0];
  for (const float lane : lanes) most = lane > most ? lane : most;
  for (; i < tokens; ++i) {
    nan |= logits[i] != logits[i];
    most = logits[i] > most ? logits[i] : most;
  }
  return {most, nan};
}

TAILRACE_INLINE F32 bin_position(F32 log2) { return log2 * splat(-kBinsPerUnit); }

// Where a logit lies among the bins; its weight is 0 in the last.
inline std::size_t bin_of(const Row& row, float logit) {
  float x = (logit - row.highest) * row.scale;
  x = x > kLeast ? x : kLeast;
  return static_cast<std::size_t>(x * -kBinsPerUnit);
}

// The weights of all tokens; with `counts` and `masses`, each [kBins] and zero, also what each bin holds.
template <bool kCount, bool kMass>
void weigh(const Row& row, std::int64_t* weights, std::uint32_t* counts, std::uint64_t* masses) {
  alignas(64) std::int32_t bins[kChunk];
  alignas(64) float last[kLanes];
  for (std::size_t begin = 0; begin < row.tokens; begin += kChunk) {
    const std::size_t n = row.tokens - begin < kChunk ? row.tokens - begin : kChunk;
    for (std::size_t i = 0; i < n; i += kLanes) {
      const float* logits = row.logits + begin + i;
      const bool whole = i + kLanes <= n;
      if (!whole) {
        for (std::size_t lane = 0; lane < kLanes; ++lane) last[lane] = lane < n - i ? logits[lane] : row.highest;
        logits = last;
      }
      const F32 x = log2_weight(load(logits), row.highest, row.scale);
      store_weights(weights + begin + i, x);  // there is room for a whole vector behind the last
      if constexpr (kCount || kMass) {
        const I32 bin = __builtin_convertvector(bin_position(x), I32);
        __builtin_memcpy(bins + i, &bin, sizeof(bin));
      }
    }
    for (std::size_t i = 0; i < n && (kCount || kMass); ++i) {
      const auto bin = static_cast<std::size_t>(bins[i]);
      if constexpr (kCount) ++counts[bin];
      if constexpr (kMass) masses[bin] += static_cast<std::uint64_t>(weights[begin + i]);
    }
  }
}

// The sum of the weights whose logits are above `least`, or equal to it.
inline std::uint64_t kept_sum(const float* logits, const std::int64_t* weights, std::size_t n, float least) {
  std::size_t i = 0;
  std::uint64_t total = 0;
#if TAILRACE_ISA_LEVEL >= 2
  __m512i low = _mm512_setzero_si512(), high = low;
  for (; i + 16 <= n; i += 16) {
    const __mmask16 kept = _mm512_cmp_ps_mask(load(logits + i), splat(least), _CMP_GE_OQ);
    low = _mm512_add_epi64(low, _mm512_maskz_loadu_epi64(static_cast<__mmask8>(kept), weights + i));
    high = _mm512_add_epi64(high, _mm512_maskz_loadu_epi64(static_cast<__mmask8>(kept >> 8), weights + i + 8));
  }
  total = static_cast<std::uint64_t>(_mm512_reduce_add_epi64(_mm512_add_epi64(low, high)));
#elif TAILRACE_ISA_LEVEL == 1
  __m256i sums = _mm256_setzero_si256();
  for (; i + 4 <= n; i += 4) {
    const __m128i kept = _mm_castps_si128(_mm_cmpge_ps(_mm_loadu_ps(logits + i), _mm_set1_ps(least)));
    const __m256i part = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(weights + i));
    sums = _mm256_add_epi64(sums, _mm256_and_si256(part, _mm256_cvtepi32_epi64(kept)));
  }
  alignas(32) std::uint64_t lanes[4];
  _mm256_store_si256(reinterpret_cast<__m256i*>(lanes), sums);
  for (const std::uint64_t lane : lanes) total += lane;
#endif
  for (; i < n; ++i) total += logits[i] >= least ? static_cast<std::uint64_t>(weights[i]) : 0;
  return total;
}

}  // namespace
}  // namespace tailrace::kernels::TAILRACE_ISA
