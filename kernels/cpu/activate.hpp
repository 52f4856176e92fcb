// activate.hpp -- activations of a register of floats: relu, tanh, gelu, silu.
//
// What      `activate<Activation::gelu>(v)`; `exp`, `erf` for other kernels.
// Why       A layer ends in them while its sums are still in registers. libm has no vectors without -ffast-math, and its scalar
//           functions would cost more than the layer.
// Threads   None: values. NaN stays NaN. Include it after cpu/target.hpp only.
// Source    exp, tanh: Cody and Waite 1980 (range reduction, rational or polynomial core); coefficients by Moshier (Cephes).
//           erf: Abramowitz and Stegun 1964, 7.1.26, absolute error 1.5e-7.
// Checked   tests/kernels/test_mlp_forward.py against float64, over the whole range, at every level.
#pragma once

#include "cpu/activation.hpp"
#include "cpu/vec.hpp"

namespace tailrace::kernels::TAILRACE_ISA {
namespace {

typedef std::int32_t I32 __attribute__((vector_size(4 * kLanes)));

TAILRACE_INLINE I32 bits_of(F32 v) { return (I32)v; }
TAILRACE_INLINE F32 floats_of(I32 v) { return (F32)v; }

// To the nearest whole number, ties to even, below 2^22 in magnitude.
TAILRACE_INLINE I32 nearest(F32 v) {
#if TAILRACE_ISA_LEVEL >= 2
  return (I32)_mm512_cvtps_epi32(v);
#elif TAILRACE_ISA_LEVEL == 1
  return (I32)_mm256_cvtps_epi32(v);
#else
  const F32 magic = splat(12582912.0f);  // 1.5 * 2^23: the addition rounds at the last bit that is left
  return bits_of(v + magic) - bits_of(magic);
#endif
}

TAILRACE_INLINE F32 exp(F32 x) {
  // Not beyond what a float holds; the order of operands lets NaN pass.
  const F32 bounded = min(splat(88.0f), max(splat(-87.0f), x));
  const I32 n = nearest(bounded * splat(1.44269504f));
  const F32 nf = __builtin_convertvector(n, F32);
  F32 r = fma(nf, splat(-0.693359375f), bounded);
  r = fma(nf, splat(2.12194440e-4f), r);
  F32 p = splat(1.9875691500e-4f);
  p = fma(p, r, splat(1.3981999507e-3f));
  p = fma(p, r, splat(8.3334519073e-3f));
  p = fma(p, r, splat(4.1665795894e-2f));
  p = fma(p, r, splat(1.6666665459e-1f));
  p = fma(p, r, splat(5.0000001201e-1f));
  p = fma(p, r * r, r) + splat(1.0f);
  return p * floats_of((n + 127) << 23);
}

TAILRACE_INLINE F32 magnitude(F32 x) { return floats_of(bits_of(x) & 0x7FFFFFFF); }
TAILRACE_INLINE F32 with_sign(F32 m, F32 x) { return floats_of(bits_of(m) | (bits_of(x) & (-0x7FFFFFFF - 1))); }

TAILRACE_INLINE F32 tanh(F32 x) {
  const F32 m = magnitude(x);
  const F32 large = splat(1.0f) - splat(2.0f) / (exp(m + m) + splat(1.0f));
  const F32 z = x * x;  // near zero, 1 - 1 would leave nothing
  F32 p = splat(-5.70498872745e-3f);
  p = fma(p, z, splat(2.06390887954e-2f));
  p = fma(p, z, splat(-5.37397155531e-2f));
  p = fma(p, z, splat(1.33314422036e-1f));
  p = fma(p, z, splat(-3.33332819422e-1f));
  const F32 small = fma(p * z, m, m);
  return with_sign(m < splat(0.625f) ? small : large, x);
}

TAILRACE_INLINE F32 erf(F32 x) {
  const F32 m = magnitude(x);
  const F32 t = splat(1.0f) / fma(m, splat(0.3275911f), splat(1.0f));
  F32 p = splat(1.061405429f);
  p = fma(p, t, splat(-1.453152027f));
  p = fma(p, t, splat(1.421413741f));
  p = fma(p, t, splat(-0.284496736f));
  p = fma(p, t, splat(0.254829592f));
  return with_sign(splat(1.0f) - p * t * exp(-m * m), x);
}

template <Activation A>
TAILRACE_INLINE F32 activate(F32 x) {
  if constexpr (A == Activation::relu) return max(F32{}, x);
  if constexpr (A == Activation::tanh) return tanh(x);
  if constexpr (A == Activation::gelu) return splat(0.5f) * x * (splat(1.0f) + erf(x * splat(0.70710678f)));
  if constexpr (A == Activation::silu) {
    const F32 found = x / (splat(1.0f) + exp(-x));
    return x < splat(-88.0f) ? splat(0) : found;  // where exp stays at what a float holds
  }
  return x;
}

}  // namespace
}  // namespace tailrace::kernels::TAILRACE_ISA
