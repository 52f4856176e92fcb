// vec.hpp -- a vector of float32 as wide as the level has, with loads that widen and that stop at the end of an array.
//
// What      `F32` of `kLanes` floats: load, store (whole or the first n), fma, from float, half, bfloat16, int8.
// Why       One body of a kernel for all levels. Operators are the compiler's own; what it has none for stands here.
// Threads   None. Include it after cpu/target.hpp only: everything in it belongs to the level.
// Checked   tests/cpp/kernels: every op at every level, in buffers that end with the array, under the address sanitizer.
#pragma once

#ifndef TAILRACE_ISA
#error "include cpu/target.hpp first"
#endif

#include <cstddef>
#include <cstdint>

#include "cpu/half.hpp"

namespace tailrace::kernels::TAILRACE_ISA {
namespace {

#define TAILRACE_INLINE inline __attribute__((always_inline))

#if TAILRACE_ISA_LEVEL >= 2
using F32 = __m512;
inline constexpr std::size_t kLanes = 16;

TAILRACE_INLINE __mmask16 first(std::size_t n) { return static_cast<__mmask16>(n >= 16 ? 0xffffu : (1u << n) - 1u); }
TAILRACE_INLINE F32 splat(float v) { return _mm512_set1_ps(v); }
TAILRACE_INLINE F32 load(const float* p) { return _mm512_loadu_ps(p); }
TAILRACE_INLINE F32 load(const Half* p) {
  return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
}
TAILRACE_INLINE F32 load(const BFloat16* p) {
  const __m256i bits = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(bits), 16));
}
TAILRACE_INLINE F32 load(const std::int8_t* p) {
  return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))));
}
TAILRACE_INLINE F32 load(const float* p, std::size_t n) { return _mm512_maskz_loadu_ps(first(n), p); }
TAILRACE_INLINE F32 load(const Half* p, std::size_t n) {
  return _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(first(n), p));
}
TAILRACE_INLINE F32 load(const BFloat16* p, std::size_t n) {
  const __m256i bits = _mm256_maskz_loadu_epi16(first(n), p);
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(bits), 16));
}
TAILRACE_INLINE F32 load(const std::int8_t* p, std::size_t n) {
  return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_maskz_loadu_epi8(first(n), p)));
}
TAILRACE_INLINE void store(float* p, F32 v) { _mm512_storeu_ps(p, v); }
TAILRACE_INLINE void store(float* p, F32 v, std::size_t n) { _mm512_mask_storeu_ps(p, first(n), v); }
TAILRACE_INLINE F32 fma(F32 a, F32 b, F32 c) { return _mm512_fmadd_ps(a, b, c); }
TAILRACE_INLINE F32 max(F32 a, F32 b) { return _mm512_max_ps(a, b); }
TAILRACE_INLINE F32 min(F32 a, F32 b) { return _mm512_min_ps(a, b); }
TAILRACE_INLINE float sum(F32 v) { return _mm512_reduce_add_ps(v); }

#else
#if TAILRACE_ISA_LEVEL == 1
using F32 = __m256;
inline constexpr std::size_t kLanes = 8;
TAILRACE_INLINE F32 fma(F32 a, F32 b, F32 c) { return _mm256_fmadd_ps(a, b, c); }
TAILRACE_INLINE F32 max(F32 a, F32 b) { return _mm256_max_ps(a, b); }
TAILRACE_INLINE F32 min(F32 a, F32 b) { return _mm256_min_ps(a, b); }
#else
using F32 = float __attribute__((vector_size(16)));
inline constexpr std::size_t kLanes = 4;
TAILRACE_INLINE F32 fma(F32 a, F32 b, F32 c) { return a * b + c; }
TAILRACE_INLINE F32 max(F32 a, F32 b) { return a > b ? a : b; }
TAILRACE_INLINE F32 min(F32 a, F32 b) { return a < b ? a : b; }
#endif

TAILRACE_INLINE F32 splat(float v) { return F32{} + v; }
TAILRACE_INLINE F32 load(const float* p) {
  F32 v;
  __builtin_memcpy(&v, p, sizeof(v));
  return v;
}
TAILRACE_INLINE void store(float* p, F32 v) { __builtin_memcpy(p, &v, sizeof(v)); }

TAILRACE_INLINE float widened(float v) { return v; }
TAILRACE_INLINE float widened(Half v) { return to_float(v); }
TAILRACE_INLINE float widened(BFloat16 v) { return to_float(v); }
TAILRACE_INLINE float widened(std::int8_t v) { return static_cast<float>(v); }

template <class T>
TAILRACE_INLINE F32 load(const T* p, std::size_t n) {
  float lanes[kLanes] = {};
  for (std::size_t i = 0; i < n && i < kLanes; ++i) lanes[i] = widened(p[i]);
  return load(static_cast<const float*>(lanes));
}
TAILRACE_INLINE void store(float* p, F32 v, std::size_t n) {
  float lanes[kLanes];
  store(lanes, v);
  for (std::size_t i = 0; i < n && i < kLanes; ++i) p[i] = lanes[i];
}
TAILRACE_INLINE float sum(F32 v) {
  float lanes[kLanes], total = 0;
  store(lanes, v);
  for (float lane : lanes) total += lane;
  return total;
}

#if TAILRACE_ISA_LEVEL == 1
TAILRACE_INLINE F32 load(const Half* p) {
  return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
}
TAILRACE_INLINE F32 load(const BFloat16* p) {
  const __m128i bits = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(bits), 16));
}
TAILRACE_INLINE F32 load(const std::int8_t* p) {
  return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p))));
}
#else
template <class T>
TAILRACE_INLINE F32 load(const T* p) {
  return load(p, kLanes);
}
#endif
#endif

}  // namespace
}  // namespace tailrace::kernels::TAILRACE_ISA
