// transform.hpp -- the Fourier transform of log_mel: each lane transforms its own frame, in place.
//
// What      `transform(task, z)`: z[k] as pairs of rows, real and imaginary, in the order of `place` afterwards.
// Why       Decimation in frequency needs no sorting pass: whoever reads asks `place` for the row.
// Threads   None. Included by cpu.cpp alone, behind cpu/target.hpp.
// Source    Butterflies of 2, 3, 4, 5 and 8 points (Nussbaumer, Fast Fourier Transform and Convolution Algorithms, 1982).
// Checked   tests/kernels/test_log_mel.py, for lengths with every factor.
#pragma once

#include "ops/log_mel/lanes.hpp"

namespace tailrace::kernels::TAILRACE_ISA {
namespace {

struct Complex {
  Lanes re, im;
};

inline Complex operator+(Complex a, Complex b) { return {a.re + b.re, a.im + b.im}; }
inline Complex operator-(Complex a, Complex b) { return {a.re - b.re, a.im - b.im}; }
inline Complex operator*(Complex a, float b) { return {a.re * b, a.im * b}; }
inline Complex times(Complex a, Lanes re, Lanes im) { return {a.re * re - a.im * im, a.re * im + a.im * re}; }
inline Complex minus_i(Complex a) { return {a.im, -a.re}; }

inline void butterfly(Complex (&a)[2]) {
  const Complex b = a[1];
  a[1] = a[0] - b;
  a[0] = a[0] + b;
}

inline void butterfly(Complex (&a)[3]) {
  const Complex sum = a[1] + a[2], turned = minus_i(a[1] - a[2]) * 0.86602540378443865f;
  const Complex middle = a[0] - sum * 0.5f;
  a[0] = a[0] + sum;
  a[1] = middle + turned;
  a[2] = middle - turned;
}

inline void butterfly(Complex (&a)[4]) {
  const Complex s = a[0] + a[2], d = a[0] - a[2], t = a[1] + a[3], u = minus_i(a[1] - a[3]);
  a[0] = s + t;
  a[1] = d + u;
  a[2] = s - t;
  a[3] = d - u;
}

inline void butterfly(Complex (&a)[5]) {
  constexpr float kCos1 = 0.30901699437494742f, kCos2 = -0.80901699437494742f;
  constexpr float kSin1 = 0.95105651629515357f, kSin2 = 0.58778525229247313f;
  const Complex s = a[1] + a[4], d = a[1] - a[4], t = a[2] + a[3], u = a[2] - a[3];
  const Complex one = a[0] + s * kCos1 + t * kCos2, two = a[0] + s * kCos2 + t * kCos1;
  const Complex turned1 = minus_i(d * kSin1 + u * kSin2), turned2 = minus_i(d * kSin2 - u * kSin1);
  a[0] = a[0] + s + t;
  a[1] = one + turned1;
  a[4] = one - turned1;
  a[2] = two + turned2;
  a[3] = two - turned2;
}

inline void butterfly(Complex (&a)[8]) {
  constexpr float kHalf = 0.70710678118654752f;
  Complex even[4] = {a[0] + a[4], a[1] + a[5], a[2] + a[6], a[3] + a[7]};
  const Complex d1 = a[1] - a[5], d3 = a[3] - a[7];
  Complex odd[4] = {a[0] - a[4], Complex{d1.re + d1.im, d1.im - d1.re} * kHalf, minus_i(a[2] - a[6]),
                    Complex{d3.im - d3.re, -d3.re - d3.im} * kHalf};
  butterfly(even);
  butterfly(odd);
  for (int i = 0; i < 4; ++i) {
    a[2 * i] = even[i];
    a[2 * i + 1] = odd[i];
  }
}

template <int R>
void split_transforms(const LogMelPass& pass, Lanes* z, std::size_t half) {
  const std::size_t step = pass.length / R;
  for (std::size_t n = 0; n < step; ++n) {
    Complex turn[R - 1];
    for (int q = 0; q + 1 < R; ++q)
      turn[q] = {splat(pass.twiddles[2 * (n * (R - 1) + static_cast<std::size_t>(q))]),
                 splat(pass.twiddles[2 * (n * (R - 1) + static_cast<std::size_t>(q)) + 1])};
    for (std::size_t begin = n; begin < half; begin += pass.length) {
      Complex a[R];
      for (std::size_t j = 0; j < R; ++j) a[j] = {z[2 * (begin + step * j)], z[2 * (begin + step * j) + 1]};
      butterfly(a);
      for (std::size_t j = 1; n != 0 && j < R; ++j) a[j] = times(a[j], turn[j - 1].re, turn[j - 1].im);
      for (std::size_t j = 0; j < R; ++j) {
        z[2 * (begin + step * j)] = a[j].re;
        z[2 * (begin + step * j) + 1] = a[j].im;
      }
    }
  }
}

inline void transform(const LogMelTask& t, Lanes* z) {
  const std::size_t half = t.n_fft / 2;
  for (std::size_t p = 0; p < t.passes; ++p) {
    switch (t.pass[p].radix) {
      case 2:
        split_transforms<2>(t.pass[p], z, half);
        break;
      case 3:
        split_transforms<3>(t.pass[p], z, half);
        break;
      case 4:
        split_transforms<4>(t.pass[p], z, half);
        break;
      case 5:
        split_transforms<5>(t.pass[p], z, half);
        break;
      default:
        split_transforms<8>(t.pass[p], z, half);
        break;
    }
  }
}

}  // namespace
}  // namespace tailrace::kernels::TAILRACE_ISA
