// int8.hpp -- y = act((q w) * scales + b): rows quantised on the way, int8 weights, sums in int32, exact.
//
// What      `pack_int8`, `quantise_rows`, `int8_packed`. With VNNI a tile is 8 rows by 3 registers of 16 outputs, four inputs
//           to an instruction; without, the bytes are widened and multiplied as 16-bit pairs.
// Why       VNNI multiplies unsigned by signed bytes. So a row is kept with 128 added, and 128 times the sum of an output's
//           weights is taken off before: the start value of its sum. Sums wrap, so only the true result has to fit, which
//           weights.py sees to (131,072 inputs). No level saturates: all give the same integers.
// Threads   None: the caller's memory only. Include it after cpu/target.hpp only.
// Source    Jacob et al. 2018, "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference";
//           rows by their own largest magnitude: Yao et al. 2022, "ZeroQuant", section 3.
// Checked   tests/cpp/kernels/test_mlp.cpp and tests/kernels/test_mlp_forward.py, against integer sums at every level.
#pragma once

#include "cpu/dense.hpp"

namespace tailrace::kernels::TAILRACE_ISA {
namespace {

#if TAILRACE_ISA_LEVEL >= 3
using Code = std::uint8_t;  // a value of a row, plus 128
inline constexpr std::int32_t kCodeZero = 128;
inline constexpr std::size_t kByteTileRows = 8;
inline constexpr std::size_t kOutputsPerVec = kLanes;
#else
using Code = std::int16_t;
inline constexpr std::int32_t kCodeZero = 0;
inline constexpr std::size_t kByteTileRows = TAILRACE_ISA_LEVEL == 2 ? 4 : 2;
inline constexpr std::size_t kOutputsPerVec = kLanes / 2;  // two sums for each output, until the end
#endif

TAILRACE_INLINE std::size_t whole_fours(std::size_t n) { return (n + 3) / 4 * 4; }

// A packed int8 weight: for each output 128 times its sum (int32) and its scale (float), filled up to whole registers; then
// panels of kPanel outputs: [in / 4][outputs][4].
struct Int8Layout {
  std::size_t width;  // outputs, filled up
  std::size_t in4;
  Int8Layout(std::size_t in, std::size_t out) : width(whole_lanes(out)), in4(whole_fours(in)) {}
  std::size_t scales() const { return width * sizeof(std::int32_t); }
  std::size_t panels() const { return (2 * scales() + 63) / 64 * 64; }
  std::size_t bytes() const { return panels() + in4 * width; }
};

inline void pack_int8(const std::int8_t* w, const float* scale, std::size_t in, std::size_t out, std::byte* packed) {
  const Int8Layout layout(in, out);
  auto* offsets = reinterpret_cast<std::int32_t*>(packed);
  auto* scales = reinterpret_cast<float*>(packed + layout.scales());
  auto* panel = reinterpret_cast<std::int8_t*>(packed + layout.panels());
  std::memset(packed, 0, layout.panels());
  std::memcpy(scales, scale, out * sizeof(float));
  const std::int8_t nothing[kPanel] = {};
  for (std::size_t j = 0; j < out; j += kPanel) {
    const std::size_t columns = least(kPanel, out - j);
    const std::size_t width = whole_lanes(columns);
    std::int32_t sums[kPanel] = {};
    for (std::size_t k = 0; k < in; k += 4, panel += 4 * width) {
      const std::int8_t* rows[4];
      for (std::size_t i = 0; i < 4; ++i) rows[i] = k + i < in ? w + (k + i) * out + j : nothing;
      for (std::size_t c = 0; c < columns; ++c) {
        for (std::size_t i = 0; i < 4; ++i) panel[4 * c + i] = rows[i][c];
        sums[c] += rows[0][c] + rows[1][c] + rows[2][c] + rows[3][c];
      }
      std::memset(panel + 4 * columns, 0, 4 * (width - columns));
    }
    for (std::size_t c = 0; c < columns; ++c) offsets[j + c] = kCodeZero * sums[c];
  }
}

// What a row's codes are worth: its largest magnitude / 127; 0 for a row of zeros (or of next to nothing, below 1e-30),
// NaN for one that holds NaN or infinity, whose outputs are then NaN.
TAILRACE_INLINE float row_scale(std::int32_t largest_bits) {
  float largest;
  std::memcpy(&largest, &largest_bits, sizeof largest);
  if (largest_bits >= 0x7F800000) return std::numeric_limits<float>::quiet_NaN();
  return largest < 1e-30f ? 0.0f : largest;
}

TAILRACE_INLINE void store_codes(Code* codes, F32 x, F32 inverse, std::size_t n) {
  const I32 rounded = nearest(x * inverse);
#if TAILRACE_ISA_LEVEL >= 3
  _mm_mask_storeu_epi8(codes, first(n), _mm_xor_si128(_mm512_cvtepi32_epi8((__m512i)rounded), _mm_set1_epi8(-128)));
#elif TAILRACE_ISA_LEVEL == 2
  _mm256_mask_storeu_epi16(codes, first(n), _mm512_cvtepi32_epi16((__m512i)rounded));
#else
  for (std::size_t i = 0; i < n; ++i) codes[i] = static_cast<Code>(rounded[i]);
#endif
}

// One row: codes, filled up to a multiple of four with what weighs nothing, and the scale: `fixed`, beyond 127 of which values
// are clipped, or where that is 0 the row's own.
inline void quantise_row(const float* x, std::size_t in, float fixed, Code* codes, float* scale) {
  I32 largest{};
  std::size_t i = 0;
  // Magnitudes compare as integers, and NaN is above all.
  for (; i + kLanes <= in; i += kLanes) {
    const I32 m = bits_of(magnitude(load(x + i)));
    largest = m > largest ? m : largest;
  }
  if (i < in) {
    const I32 m = bits_of(magnitude(load(x + i, in - i)));
    largest = m > largest ? m : largest;
  }
  std::int32_t most = 0;
  for (std::size_t lane = 0; lane < kLanes; ++lane) most = largest[lane] > most ? largest[lane] : most;
  const float magnitude_of_row = row_scale(most);
  if (fixed > 0.0f && magnitude_of_row == magnitude_of_row) {
    *scale = fixed;
    const F32 inverse = splat(1.0f / fixed), most_code = splat(127.0f), least_code = splat(-127.0f);
    for (i = 0; i < in; i += kLanes) {
      const std::size_t n = least(kLanes, in - i);
      const F32 x_codes = (n == kLanes ? load(x + i) : load(x + i, n)) * inverse;
      const F32 below = x_codes < most_code ? x_codes : most_code;
      store_codes(codes + i, below > least_code ? below : least_code, splat(1.0f), n);
    }
    for (i = in; i < whole_fours(in); ++i) codes[i] = static_cast<Code>(kCodeZero);
    return;
  }
  *scale = magnitude_of_row / 127.0f;
  const F32 inverse = splat(magnitude_of_row > 0.0f ? 127.0f / magnitude_of_row : 0.0f);
  // What is not finite has no code: the scale alone says so.
  for (i = 0; i + kLanes <= in; i += kLanes) store_codes(codes + i, load(x + i), inverse, kLanes);
  if (i < in) store_codes(codes + i, load(x + i, in - i), inverse, in - i);
  for (i = in; i < whole_fours(in); ++i) codes[i] = static_cast<Code>(kCodeZero);
}

struct Int8Args {
  const Code* codes;  // [rows, in4]
  const float* scales;  // [rows]
  std::size_t rows;
  std::size_t in4;
  const std::byte* packed;
  std::size_t in;
  std::size_t out;
  const float* bias;
  float* y;  // [rows, out]
  std::size_t y_stride;
  Activation activation;
};

// Four inputs of one row times four inputs of kOutputsPerVec outputs, added to their sums.
#if TAILRACE_ISA_LEVEL >= 3
TAILRACE_INLINE I32 four_of(const Code* codes) {
  std::int32_t four;
  std::memcpy(&four, codes, sizeof four);
  return (I32)_mm512_set1_epi32(four);
}
TAILRACE_INLINE I32 bytes_of(const std::int8_t* w) { return (I32)_mm512_loadu_si512(w); }
TAILRACE_INLINE I32 dot4(I32 sums, I32 codes, I32 weights) {
  return (I32)_mm512_dpbusd_epi32((__m512i)sums, (__m512i)codes, (__m512i)weights);
}
#elif TAILRACE_ISA_LEVEL == 2
TAILRACE_INLINE I32 four_of(const Code* codes) {
  std::int64_t four;
  std::memcpy(&four, codes, sizeof four);
  return (I32)_mm512_set1_epi64(four);
}
TAILRACE_INLINE I32 bytes_of(const std::int8_t* w) {
  return (I32)_mm512_cvtepi8_epi16(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(w)));
}
TAILRACE_INLINE I32 dot4(I32 sums, I32 codes, I32 weights) {
  return sums + (I32)_mm512_madd_epi16((__m512i)codes, (__m512i)weights);
}
#elif TAILRACE_ISA_LEVEL == 1
TAILRACE_INLINE I32 four_of(const Code* codes) {
  std::int64_t four;
  std::memcpy(&four, codes, sizeof four);
  return (I32)_mm256_set1_epi64x(four);
}
TAILRACE_INLINE I32 bytes_of(const std::int8_t* w) {
  return (I32)_mm256_cvtepi8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(w)));
}
TAILRACE_INLINE I32 dot4(I32 sums, I32 codes, I32 weights) {
  return sums + (I32)_mm256_madd_epi16((__m256i)codes, (__m256i)weights);
}
#else
typedef std::int16_t VecShort __attribute__((vector_size(4 * kLanes)));
TAILRACE_INLINE VecShort four_of(const Code* codes) {
  return VecShort{codes[0], codes[1], codes[2], codes[3], codes[0], codes[1], codes[2], codes[3]};
}
TAILRACE_INLINE VecShort bytes_of(const std::int8_t* w) {
  typedef std::int8_t VecBytes __attribute__((vector_size(2 * kLanes)));
  VecBytes bytes;
  std::memcpy(&bytes, w, sizeof bytes);
  return __builtin_convertvector(bytes, VecShort);
}
TAILRACE_INLINE I32 dot4(I32 sums, VecShort codes, VecShort weights) {
#if defined(__SSE2__)
  return sums + (I32)__builtin_ia32_pmaddwd128(codes, weights);
#else
  for (std::size_t i = 0; i < kLanes; ++i)
    sums[i] += codes[2 * i] * weights[2 * i] + codes[2 * i + 1] * weights[2 * i + 1];
  return sums;
#endif
}
#endif

// The sums of kLanes outputs from the registers that hold them.
#if TAILRACE_ISA_LEVEL >= 3
TAILRACE_INLINE I32 whole_sums(const I32* sums) { return sums[0]; }
#else
TAILRACE_INLINE I32 whole_sums(const I32* sums) {
  std::int32_t pairs[2 * kLanes];
  std::memcpy(pairs, sums, sizeof pairs);
  I32 whole;
  for (std::size_t i = 0; i < kLanes; ++i) whole[i] = pairs[2 * i] + pairs[2 * i + 1];
  return whole;
}
#endif

template <std::size_t R, std::size_t V>  // V registers of kLanes outputs
void int8_tile(const Int8Args& a, const std::int8_t* w, std::size_t row, std::size_t column) {
  constexpr std::size_t S = V * kLanes / kOutputsPerVec;  // registers of sums for a row
  constexpr std::size_t U = R * S >= 8 ? 1 : R * S >= 4 ? 2 : 4;
  const Code* codes = a.codes + row * a.in4;
  I32 sums[U][R][S] = {};
  std::size_t k = 0;
  for (; k + 4 * U <= a.in4; k += 4 * U, w += U * V * kLanes * 4) {
    for (std::size_t u = 0; u < U; ++u) {
      decltype(bytes_of(w)) weights[S];
      for (std::size_t s = 0; s < S; ++s) weights[s] = bytes_of(w + u * V * kLanes * 4 + s * kOutputsPerVec * 4);
      for (std::size_t r = 0; r < R; ++r) {
        const auto four = four_of(codes + r * a.in4 + k + 4 * u);
        for (std::size_t s = 0; s < S; ++s) sums[u][r][s] = dot4(sums[u][r][s], four, weights[s]);
      }
    }
  }
  for (; k < a.in4; k += 4, w += V * kLanes * 4) {
    for (std::size_t r = 0; r < R; ++r)
      for (std::size_t s = 0; s < S; ++s)
        sums[0][r][s] = dot4(sums[0][r][s], four_of(codes + r * a.in4 + k), bytes_of(w + s * kOutputsPerVec * 4));
  }
  const Int8Layout layout(a.in, a.out);
  const auto* offsets = reinterpret_cast<const std::int32_t*>(a.packed) + column;
  const auto* scales = reinterpret_cast<const float*>(a.packed + layout.scales()) + column;
  const std::size_t last = least(a.out - column, V * kLanes) - (V - 1) * kLanes;
  const F32 bound = splat(lower_bound_of(a.activation));
  float* y = a.y + row * a.y_stride + column;
  for (std::size_t v = 0; v < V; ++v) {
    const std::size_t n = v + 1 < V ? kLanes : last;
    const F32 bias = a.bias == nullptr ? splat(0) : load(a.bias + column + v * kLanes, n);
    const F32 scale = load(scales + v * kLanes);
    I32 offset;
    std::memcpy(&offset, offsets + v * kLanes, sizeof offset);
    for (std::size_t r = 0; r < R; ++r) {
      for (std::size_t u = 1; u < U; ++u)
        for (std::size_t s = v * S / V; s < (v + 1) * S / V; ++s) sums[0][r][s] += sums[u][r][s];
      const I32 whole = whole_sums(&sums[0][r][v * S / V]) - offset;
      const F32 real = fma(__builtin_convertvector(whole, F32), scale * splat(a.scales[row + r]), bias);
      store(y + r * a.y_stride + v * kLanes, max(bound, real), n);
    }
  }
}

template <std::size_t V, std::size_t R = kByteTileRows>
TAILRACE_INLINE void int8_tile_of(std::size_t rows, const Int8Args& a, const std::int8_t* w, std::size_t row,
                                  std::size_t column) {
  if (rows == R) return int8_tile<R, V>(a, w, row, column);
  if constexpr (R > 1) int8_tile_of<V, R - 1>(rows, a, w, row, column);
}

inline void int8_packed(const Int8Args& a) {
  const auto* panel = reinterpret_cast<const std::int8_t*>(a.packed + Int8Layout(a.in, a.out).panels());
  for (std::size_t column = 0; column < a.out; column += kPanel) {
    const std::size_t width = whole_lanes(least(a.out - column, kPanel));
    const std::size_t tiles = (a.rows + kByteTileRows - 1) / kByteTileRows;
    for (std::size_t t = 0, row = 0; t < tiles; ++t) {
      const std::size_t rows = (a.rows - row + tiles - t - 1) / (tiles - t);
      if (width == 3 * kLanes) int8_tile_of<3>(rows, a, panel, row, column);
      if (width == 2 * kLanes) int8_tile_of<2>(rows, a, panel, row, column);
      if (width == kLanes) int8_tile_of<1>(rows, a, panel, row, column);
      row += rows;
    }
    panel += a.in4 * width;
  }
  activate_rows(a.activation, a.y, a.rows, a.y_stride, a.out);
}

}  // namespace
}  // namespace tailrace::kernels::TAILRACE_ISA
