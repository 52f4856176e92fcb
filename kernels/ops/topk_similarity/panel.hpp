// panel.hpp -- sixteen keys side by side: from rows to a panel, and the lengths of the keys in one.
//
// What      `transpose_rows`: 16 rows of any storage type as [dim][16] floats; `widen_panels`; `inverse_lengths`.
// Why       A score is then a sum over dim in every lane: no sum across lanes, and the same order whatever the batch.
// Threads   None.
// Checked   tests/cpp/kernels/test_topk_similarity.cpp: counts and dims around 16, at every level.
#pragma once

#include <cmath>
#include <cstddef>

#include "cpu/vec.hpp"
#include "ops/topk_similarity/cpu.hpp"

namespace tailrace::kernels::TAILRACE_ISA {
namespace {

TAILRACE_INLINE float plain(float value) { return value; }
TAILRACE_INLINE float plain(Half value) { return to_float(value); }
TAILRACE_INLINE float plain(std::int8_t value) { return static_cast<float>(value); }

#if TAILRACE_ISA_LEVEL >= 2
// Rows and columns of a 16 x 16 block change places: pairs, fours, then the quarters of the registers.
TAILRACE_INLINE void transpose_block(F32 (&rows)[16], float* out) {
  __m512 pairs[16];
  for (int i = 0; i < 16; i += 2) {
    pairs[i] = _mm512_unpacklo_ps(rows[i], rows[i + 1]);
    pairs[i + 1] = _mm512_unpackhi_ps(rows[i], rows[i + 1]);
  }
  __m512 fours[16];
  for (int i = 0; i < 16; i += 4)
    for (int j = 0; j < 2; ++j) {
      const __m512d low = _mm512_castps_pd(pairs[i + j]), high = _mm512_castps_pd(pairs[i + j + 2]);
      fours[i + 2 * j] = _mm512_castpd_ps(_mm512_unpacklo_pd(low, high));
      fours[i + 2 * j + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(low, high));
    }
  for (int j = 0; j < 4; ++j) {
    const __m512 even_a = _mm512_shuffle_f32x4(fours[j], fours[4 + j], 0x88);
    const __m512 odd_a = _mm512_shuffle_f32x4(fours[j], fours[4 + j], 0xdd);
    const __m512 even_b = _mm512_shuffle_f32x4(fours[8 + j], fours[12 + j], 0x88);
    const __m512 odd_b = _mm512_shuffle_f32x4(fours[8 + j], fours[12 + j], 0xdd);
    store(out + (0 + j) * 16, _mm512_shuffle_f32x4(even_a, even_b, 0x88));
    store(out + (4 + j) * 16, _mm512_shuffle_f32x4(odd_a, odd_b, 0x88));
    store(out + (8 + j) * 16, _mm512_shuffle_f32x4(even_a, even_b, 0xdd));
    store(out + (12 + j) * 16, _mm512_shuffle_f32x4(odd_a, odd_b, 0xdd));
  }
}
#endif

// `rows` rows of `keys` as a panel of floats; rows that are not there are zeros. `ahead`: the rows of the next panel, or null:
// sixteen streams at once are more than the machine foresees.
template <class T>
void transpose_rows(const T* keys, std::size_t rows, std::size_t dim, float* panel, [[maybe_unused]] const T* ahead) {
  std::size_t d = 0;
#if TAILRACE_ISA_LEVEL >= 2
  if (rows == kPanelKeys) {
    for (; d + 16 <= dim; d += 16) {
      F32 block[16];
      for (std::size_t r = 0; r < 16; ++r) {
        block[r] = load(keys + r * dim + d);
        if (ahead != nullptr) __builtin_prefetch(ahead + r * dim + d);
      }
      transpose_block(block, panel + d * 16);
    }
  }
#elif TAILRACE_ISA_LEVEL == 1
  if (rows == kPanelKeys) {
    for (; d + 8 <= dim; d += 8)
      for (std::size_t half = 0; half < 16; half += 8) {
        __m256 a[8], b[8];
        for (std::size_t r = 0; r < 8; ++r) {
          a[r] = load(keys + (half + r) * dim + d);
          if (ahead != nullptr) __builtin_prefetch(ahead + (half + r) * dim + d);
        }
        for (int i = 0; i < 8; i += 2) {
          b[i] = _mm256_unpacklo_ps(a[i], a[i + 1]);
          b[i + 1] = _mm256_unpackhi_ps(a[i], a[i + 1]);
        }
        for (int i = 0; i < 8; i += 4)
          for (int j = 0; j < 2; ++j) {
            a[i + 2 * j] = _mm256_shuffle_ps(b[i + j], b[i + j + 2], 0x44);
            a[i + 2 * j + 1] = _mm256_shuffle_ps(b[i + j], b[i + j + 2], 0xee);
          }
        for (std::size_t j = 0; j < 4; ++j) {
          store(panel + (d + j) * 16 + half, _mm256_permute2f128_ps(a[j], a[4 + j], 0x20));
          store(panel + (d + 4 + j) * 16 + half, _mm256_permute2f128_ps(a[j], a[4 + j], 0x31));
        }
      }
  }
#endif
  for (; d < dim; ++d)
    for (std::size_t r = 0; r < kPanelKeys; ++r) panel[d * 16 + r] = r < rows ? plain(keys[r * dim + d]) : 0.0f;
}

template <class T>
void widen_panels(const T* panels, std::size_t values, float* out) {
  for (std::size_t i = 0; i < values; i += kLanes) store(out + i, load(panels + i));
}

// One by the length of each key of the panel; 0 for a key of zeros, NaN where the length is beyond float32.
inline void inverse_lengths(const float* panel, std::size_t dim, float* out) {
  constexpr std::size_t kVectors = kPanelKeys / kLanes;
  F32 sums[kVectors];
  for (auto& part : sums) part = splat(0);
  for (std::size_t d = 0; d < dim; ++d)
    for (std::size_t v = 0; v < kVectors; ++v) {
      const F32 x = load(panel + d * 16 + v * kLanes);
      sums[v] = fma(x, x, sums[v]);
    }
  for (std::size_t v = 0; v < kVectors; ++v) store(out + v * kLanes, sums[v]);
  for (std::size_t r = 0; r < kPanelKeys; ++r) {
    double square = static_cast<double>(out[r]);
    if (!(square > 1e-20 && square < 1e30)) {  // squares may have vanished or gone beyond float32
      square = 0;
      for (std::size_t d = 0; d < dim; ++d)
        square += static_cast<double>(panel[d * 16 + r]) * static_cast<double>(panel[d * 16 + r]);
    }
    const double length = std::sqrt(square);
    // The inverse of a length below 3e-39 is no float32: such a key counts as zero.
    out[r] = length < 3e-39 ? 0.0f : length < 3e38 ? static_cast<float>(1.0 / length) : std::nanf("");
  }
}

}  // namespace
}  // namespace tailrace::kernels::TAILRACE_ISA
