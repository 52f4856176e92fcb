// lanes.hpp -- registers of log_mel, in which each lane is a frame: `Lanes`, the way in, and a logarithm.
//
// What      `Lanes`, the level's vector of floats; `load_frames` reads and windows as many frames and turns them, a row per sample; `log10_of`.
// Why       The compiler's vector types give each level its code from one text; only the turning needs the level's own shuffles.
// Threads   None. Included by cpu.cpp alone, behind cpu/target.hpp.
// Source    log: Cephes, single precision (Moshier, 1992): the mantissa in [sqrt(1/2), sqrt(2)), a polynomial of degree 8.
// Checked   tests/kernels/test_log_mel.py.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "cpu/vec.hpp"
#include "ops/log_mel/cpu.hpp"

namespace tailrace::kernels::TAILRACE_ISA {
namespace {

using Lanes = F32;
typedef std::int32_t Bits __attribute__((vector_size(kLanes * sizeof(float))));

inline Bits bits_of(Lanes x) {
  Bits bits;
  std::memcpy(&bits, &x, sizeof bits);
  return bits;
}

inline Lanes from_bits(Bits x) {
  Lanes lanes;
  std::memcpy(&lanes, &x, sizeof lanes);
  return lanes;
}

// Of a number that is at least FLT_MIN; infinity and NaN stay what they are.
inline Lanes log10_of(Lanes x) {
  const Bits raw = bits_of(x);
  const Bits over = raw - 0x3f3504f3;  // the bits of sqrt(1/2)
  const Bits exponent = over >> 23;
  const Lanes f = from_bits((over & 0x007fffff) + 0x3f3504f3) - 1.0f;
  const Lanes e = __builtin_convertvector(exponent, Lanes);
  const Lanes z = f * f;
  Lanes p = splat(7.0376836292e-2f);
  p = p * f + -1.1514610310e-1f;
  p = p * f + 1.1676998740e-1f;
  p = p * f + -1.2420140846e-1f;
  p = p * f + 1.4249322787e-1f;
  p = p * f + -1.6668057665e-1f;
  p = p * f + 2.0000714765e-1f;
  p = p * f + -2.4999993993e-1f;
  p = p * f + 3.3333331174e-1f;
  const Lanes natural = f + (p * f * z - 0.5f * z);
  const Lanes result = natural * 0.43429448190325182f + e * 0.30102999566398120f;
  return x <= splat(3.4028234663852886e38f) ? result : x;
}

#if TAILRACE_ISA_LEVEL >= 2
inline void load_frames(const float* from, std::size_t hop, const float* window, Lanes* rows) {
  __m512 a[16], b[16];
  const __m512 w = _mm512_loadu_ps(window);
  for (std::size_t i = 0; i < 16; ++i) a[i] = _mm512_mul_ps(_mm512_loadu_ps(from + i * hop), w);
  for (std::size_t i = 0; i < 16; i += 4) {
    const __m512 ab_low = _mm512_unpacklo_ps(a[i], a[i + 1]), ab_high = _mm512_unpackhi_ps(a[i], a[i + 1]);
    const __m512 cd_low = _mm512_unpacklo_ps(a[i + 2], a[i + 3]), cd_high = _mm512_unpackhi_ps(a[i + 2], a[i + 3]);
    b[i] = _mm512_shuffle_ps(ab_low, cd_low, 0x44);
    b[i + 1] = _mm512_shuffle_ps(ab_low, cd_low, 0xee);
    b[i + 2] = _mm512_shuffle_ps(ab_high, cd_high, 0x44);
    b[i + 3] = _mm512_shuffle_ps(ab_high, cd_high, 0xee);
  }
  for (std::size_t i = 0; i < 4; ++i) {
    const __m512 even_low = _mm512_shuffle_f32x4(b[i], b[i + 4], 0x88);
    const __m512 odd_low = _mm512_shuffle_f32x4(b[i], b[i + 4], 0xdd);
    const __m512 even_high = _mm512_shuffle_f32x4(b[i + 8], b[i + 12], 0x88);
    const __m512 odd_high = _mm512_shuffle_f32x4(b[i + 8], b[i + 12], 0xdd);
    rows[i] = _mm512_shuffle_f32x4(even_low, even_high, 0x88);
    rows[i + 8] = _mm512_shuffle_f32x4(even_low, even_high, 0xdd);
    rows[i + 4] = _mm512_shuffle_f32x4(odd_low, odd_high, 0x88);
    rows[i + 12] = _mm512_shuffle_f32x4(odd_low, odd_high, 0xdd);
  }
}
#elif TAILRACE_ISA_LEVEL == 1
inline void load_frames(const float* from, std::size_t hop, const float* window, Lanes* rows) {
  __m256 a[8], b[8];
  const __m256 w = _mm256_loadu_ps(window);
  for (std::size_t i = 0; i < 8; ++i) a[i] = _mm256_mul_ps(_mm256_loadu_ps(from + i * hop), w);
  for (std::size_t i = 0; i < 8; i += 4) {
    const __m256 ab_low = _mm256_unpacklo_ps(a[i], a[i + 1]), ab_high = _mm256_unpackhi_ps(a[i], a[i + 1]);
    const __m256 cd_low = _mm256_unpacklo_ps(a[i + 2], a[i + 3]), cd_high = _mm256_unpackhi_ps(a[i + 2], a[i + 3]);
    b[i] = _mm256_shuffle_ps(ab_low, cd_low, 0x44);
    b[i + 1] = _mm256_shuffle_ps(ab_low, cd_low, 0xee);
    b[i + 2] = _mm256_shuffle_ps(ab_high, cd_high, 0x44);
    b[i + 3] = _mm256_shuffle_ps(ab_high, cd_high, 0xee);
  }
  for (std::size_t i = 0; i < 4; ++i) {
    rows[i] = _mm256_permute2f128_ps(b[i], b[i + 4], 0x20);
    rows[i + 4] = _mm256_permute2f128_ps(b[i], b[i + 4], 0x31);
  }
}
#else
inline void load_frames(const float* from, std::size_t hop, const float* window, Lanes* rows) {
  for (std::size_t i = 0; i < kLanes; ++i)
    for (std::size_t lane = 0; lane < kLanes; ++lane) rows[i][lane] = from[lane * hop + i] * window[i];
}
#endif

}  // namespace
}  // namespace tailrace::kernels::TAILRACE_ISA
