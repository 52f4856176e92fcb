// weights.hpp -- the weight of a token as a whole number, the same bits on every machine.
//
// What      `log2_weight`: how far a logit lies below the highest, in powers of two; `weight`: 2^40 times two to that, rounded.
// Why       Whole numbers sum to the same total in any order, so what is kept and what is drawn depends neither on the width
//           of vectors nor on the backend. Only IEEE sums and products stand here, none fused: this file's sources are compiled
//           with -ffp-contract=off.
// Threads   None.
// Source    2^f by a polynomial of degree 6, minimax in the relative error: 1e-7, rounding included; its argument adds
//           1.2e-7 per unit of log2, so a token 2^-20 as likely as the likeliest is 2.4e-6 off.
// Checked   tests/kernels/test_sample_tokens.py: levels agree to the bit, weights with float64.
#pragma once

#include <cstddef>
#include <cstdint>

#include "cpu/vec.hpp"

namespace tailrace::kernels::TAILRACE_ISA {
namespace {

using I32 = std::int32_t __attribute__((vector_size(sizeof(F32))));

inline constexpr float kLeast = -42.5f;  // in log2: the weight rounds to zero from -41 on
inline constexpr int kFraction = 40;  // bits: the likeliest token has the weight 2^40

TAILRACE_INLINE F32 log2_weight(F32 logits, float highest, float scale) {
  return max((logits - splat(highest)) * splat(scale), splat(kLeast));
}

TAILRACE_INLINE F32 scaled_exp2(F32 x) {
  const F32 magic = splat(12582912.0f);  // 1.5 * 2^23: adding it rounds to a whole number, in the low bits
  const F32 shifted = x + magic;
  const F32 f = x - (shifted - magic);
  F32 p = splat(0x1.41fbbcp-13f);
  p = p * f + splat(0x1.5f3e54p-10f);
  p = p * f + splat(0x1.3b2d4cp-7f);
  p = p * f + splat(0x1.c6aee8p-5f);
  p = p * f + splat(0x1.ebfbdcp-3f);
  p = p * f + splat(0x1.62e430p-1f);
  p = p * f + splat(1.0f);
  const I32 exponent = __builtin_bit_cast(I32, shifted) + kFraction;
  return __builtin_bit_cast(F32, __builtin_bit_cast(I32, p) + (exponent << 23));
}

// kLanes weights to `out`.
TAILRACE_INLINE void store_weights(std::int64_t* out, F32 x) {
  const F32 value = scaled_exp2(x);
#if TAILRACE_ISA_LEVEL >= 2
  _mm512_storeu_si512(out, _mm512_cvtps_epi64(_mm512_castps512_ps256(value)));
  _mm512_storeu_si512(out + 8, _mm512_cvtps_epi64(_mm512_extractf32x8_ps(value, 1)));
#elif TAILRACE_ISA_LEVEL == 1
  // 1.5 * 2^52 does for doubles what the magic number above does for floats.
  const __m256d magic = _mm256_set1_pd(6755399441055744.0);
  for (int half = 0; half < 2; ++half) {
    const __m128 part = half == 0 ? _mm256_castps256_ps128(value) : _mm256_extractf128_ps(value, 1);
    const __m256d shifted = _mm256_add_pd(_mm256_cvtps_pd(part), magic);
    const __m256i whole = _mm256_sub_epi64(_mm256_castpd_si256(shifted), _mm256_castpd_si256(magic));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(out + 4 * half), whole);
  }
#else
  float lanes[kLanes];
  store(lanes, value);
  for (std::size_t i = 0; i < kLanes; ++i) out[i] = __builtin_llrintf(lanes[i]);
#endif
}

}  // namespace
}  // namespace tailrace::kernels::TAILRACE_ISA
