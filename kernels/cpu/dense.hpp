// dense.hpp -- y = act(x w + b) in float32, for weights that were packed before or are read as they lie.
//
// What      `pack_dense(w, in, out, packed)`, then `dense_packed<T>(args)`; `dense_direct<T>(args)` reads row-major weights. T is
//           float, Half or BFloat16; rows and sums are float32 always. A few rows are best direct, many packed, even if packed
//           for one call.
// Why       Packed, a panel of three registers' width is one forward stream, and a tile of kTileRows x 3 registers of sums
//           reads each weight once for all its rows: the multiply-adds are the limit, not the loads.
// Threads   None: the caller's memory only. Include it after cpu/target.hpp only.
// Source    Goto and van de Geijn 2008, "Anatomy of high-performance matrix multiplication", sections 4 and 6.
// Checked   tests/cpp/kernels/test_mlp.cpp, tests/kernels/test_mlp_forward.py.
#pragma once

#include <cmath>
#include <cstddef>
#include <limits>

#include "cpu/activate.hpp"
#include "cpu/vec.hpp"

namespace tailrace::kernels::TAILRACE_ISA {
namespace {

#if TAILRACE_ISA_LEVEL >= 2
inline constexpr std::size_t kTileRows = 8;  // 24 registers of sums, 3 of weights; the rows' values come from memory
#else
inline constexpr std::size_t kTileRows = 4;
#endif
inline constexpr std::size_t kTileVecs = 3;
inline constexpr std::size_t kPanel = kTileVecs * kLanes;

struct DenseArgs {
  const float* x;  // [rows, in], `x_stride` elements from row to row
  std::size_t rows;
  std::size_t x_stride;
  const void* weights;  // packed, or [in, out] row-major
  std::size_t in;
  std::size_t out;
  const float* bias;  // [out], or null
  float* y;  // [rows, out], `y_stride` elements from row to row
  std::size_t y_stride;
  Activation activation;
  std::size_t behind = 0;  // bytes that follow row-major weights in the same array, and are wanted next
};

TAILRACE_INLINE std::size_t whole_lanes(std::size_t n) { return (n + kLanes - 1) / kLanes * kLanes; }
TAILRACE_INLINE std::size_t least(std::size_t a, std::size_t b) { return a < b ? a : b; }

// Elements of a packed weight: panels of kPanel columns, one after the other, each [in, its columns], the last filled up
// with zeros to a whole number of registers.
TAILRACE_INLINE std::size_t packed_elements(std::size_t in, std::size_t out) { return in * whole_lanes(out); }

// Row by row, so that what is read is one forward stream; what is written is one for each panel.
template <class T>
void pack_dense(const T* w, std::size_t in, std::size_t out, T* packed) {
  for (std::size_t k = 0; k < in; ++k) {
    for (std::size_t j = 0; j < out; j += kPanel) {
      const std::size_t columns = least(kPanel, out - j);
      const std::size_t width = whole_lanes(columns);
      T* to = packed + j * in + k * width;
      std::memcpy(to, w + k * out + j, columns * sizeof(T));
      for (std::size_t c = columns; c < width; ++c) to[c] = T{};
    }
  }
}

template <Activation A>
__attribute__((noinline)) void activate_row(float* y, std::size_t n) {
  std::size_t i = 0;
  for (; i + kLanes <= n; i += kLanes) store(y + i, activate<A>(load(y + i)));
  if (i < n) store(y + i, activate<A>(load(y + i, n - i)), n - i);
}

// What relu does is a lower bound, and costs a tile nothing; the others are a pass over rows that lie in the cache.
TAILRACE_INLINE float lower_bound_of(Activation a) {
  return a == Activation::relu ? 0.0f : -std::numeric_limits<float>::infinity();
}

TAILRACE_INLINE void activate_rows(Activation a, float* y, std::size_t rows, std::size_t stride, std::size_t n) {
  if (a == Activation::none || a == Activation::relu) return;
  for (std::size_t r = 0; r < rows; ++r) {
    if (a == Activation::tanh) activate_row<Activation::tanh>(y + r * stride, n);
    if (a == Activation::gelu) activate_row<Activation::gelu>(y + r * stride, n);
    if (a == Activation::silu) activate_row<Activation::silu>(y + r * stride, n);
  }
}

// One tile of sums: R rows by V registers, over all inputs. U inputs at a time keep enough sums in flight when R * V is small.
template <class T, std::size_t R, std::size_t V>
void dense_tile(const DenseArgs& a, const T* w, std::size_t row, std::size_t column) {
  constexpr std::size_t U = R * V >= 8 ? 1 : R * V >= 4 ? 2 : 4;
  const float* x = a.x + row * a.x_stride;
  F32 sums[U][R][V] = {};
  std::size_t k = 0;
  for (; k + U <= a.in; k += U, w += U * V * kLanes) {
    for (std::size_t u = 0; u < U; ++u) {
      F32 weights[V];
      for (std::size_t v = 0; v < V; ++v) weights[v] = load(w + (u * V + v) * kLanes);
      for (std::size_t r = 0; r < R; ++r) {
        const F32 value = splat(x[r * a.x_stride + k + u]);
        for (std::size_t v = 0; v < V; ++v) sums[u][r][v] = fma(value, weights[v], sums[u][r][v]);
      }
    }
  }
  for (; k < a.in; ++k, w += V * kLanes) {
    for (std::size_t r = 0; r < R; ++r)
      for (std::size_t v = 0; v < V; ++v)
        sums[0][r][v] = fma(splat(x[r * a.x_stride + k]), load(w + v * kLanes), sums[0][r][v]);
  }
  const std::size_t last = least(a.out - column, V * kLanes) - (V - 1) * kLanes;  // columns in the last register
  const F32 bound = splat(lower_bound_of(a.activation));
  float* y = a.y + row * a.y_stride + column;
  for (std::size_t v = 0; v < V; ++v) {
    const std::size_t n = v + 1 < V ? kLanes : last;
    const F32 bias = a.bias == nullptr ? splat(0) : load(a.bias + column + v * kLanes, n);
    for (std::size_t r = 0; r < R; ++r) {
      F32 sum = sums[0][r][v];
      for (std::size_t u = 1; u < U; ++u) sum += sums[u][r][v];
      store(y + r * a.y_stride + v * kLanes, max(bound, sum + bias), n);
    }
  }
}

template <class T, std::size_t V, std::size_t R = kTileRows>
TAILRACE_INLINE void dense_tile_of(std::size_t rows, const DenseArgs& a, const T* w, std::size_t row,
                                   std::size_t column) {
  if (rows == R) return dense_tile<T, R, V>(a, w, row, column);
  if constexpr (R > 1) dense_tile_of<T, V, R - 1>(rows, a, w, row, column);
}

// One panel of weights for all rows, in tiles of nearly equal height.
template <class T>
void dense_panel(const DenseArgs& a, const T* panel, std::size_t column) {
  const std::size_t vecs = whole_lanes(least(a.out - column, kPanel)) / kLanes;
  const std::size_t tiles = (a.rows + kTileRows - 1) / kTileRows;
  for (std::size_t t = 0, row = 0; t < tiles; ++t) {
    const std::size_t rows = (a.rows - row + tiles - t - 1) / (tiles - t);
    if (vecs == 3) dense_tile_of<T, 3>(rows, a, panel, row, column);
    if (vecs == 2) dense_tile_of<T, 2>(rows, a, panel, row, column);
    if (vecs == 1) dense_tile_of<T, 1>(rows, a, panel, row, column);
    row += rows;
  }
}

template <class T>
void dense_packed(const DenseArgs& a) {
  const auto* panel = static_cast<const T*>(a.weights);
  for (std::size_t column = 0; column < a.out; column += kPanel) {
    dense_panel<T>(a, panel, column);
    panel += a.in * whole_lanes(least(a.out - column, kPanel));
  }
  activate_rows(a.activation, a.y, a.rows, a.y_stride, a.out);
}

// R rows of y gain what K inputs bring. Weights are read once, forward; sums come from and go to y, which lies in the cache.
template <class T, std::size_t R, std::size_t K>
void dense_strip(const DenseArgs& a, std::size_t row, std::size_t k) {
  const auto* w = static_cast<const T*>(a.weights) + k * a.out;
  const float* x = a.x + row * a.x_stride + k;
  float* y = a.y + row * a.y_stride;
  // What comes 16 KiB later is asked for in the order of memory: the processor's own prefetch follows K streams badly.
  constexpr std::size_t kStep = K * kLanes * sizeof(T), kAhead = 16384;
  const auto* ahead = reinterpret_cast<const char*>(w) + kAhead;
  const std::size_t left = (a.in - k) * a.out * sizeof(T) + a.behind;
  const F32 bound = splat(k + K == a.in ? lower_bound_of(a.activation) : -std::numeric_limits<float>::infinity());
  for (std::size_t j = 0; j < a.out; j += kLanes) {
    const std::size_t n = a.out - j;
    const bool whole = n >= kLanes;
    if (kAhead + j * K * sizeof(T) + kStep <= left)
      for (std::size_t byte = 0; byte < kStep; byte += 64) __builtin_prefetch(ahead + j * K * sizeof(T) + byte);
    F32 weights[K];
    for (std::size_t i = 0; i < K; ++i) weights[i] = whole ? load(w + i * a.out + j) : load(w + i * a.out + j, n);
    for (std::size_t r = 0; r < R; ++r) {
      float* place = y + r * a.y_stride + j;
      F32 sum = splat(0);
      if (k != 0)
        sum = whole ? load(place) : load(place, n);
      else if (a.bias != nullptr)
        sum = whole ? load(a.bias + j) : load(a.bias + j, n);
      for (std::size_t i = 0; i < K; ++i) sum = fma(splat(x[r * a.x_stride + i]), weights[i], sum);
      sum = max(bound, sum);
      if (whole)
        store(place, sum);
      else
        store(place, sum, n);
    }
  }
}

// For one row, whose limit is memory, strips of four inputs read it best; more rows share what is loaded of y.
template <class T, std::size_t R>
void dense_strips(const DenseArgs& a, std::size_t row) {
  constexpr std::size_t K = R == 1 ? 4 : 8;
  std::size_t k = 0;
  for (; k + K <= a.in; k += K) dense_strip<T, R, K>(a, row, k);
  for (; k < a.in; ++k) dense_strip<T, R, 1>(a, row, k);
}

template <class T>
void dense_direct(const DenseArgs& a) {
  std::size_t row = 0;
  for (; row + 4 <= a.rows; row += 4) dense_strips<T, 4>(a, row);
  for (; row + 2 <= a.rows; row += 2) dense_strips<T, 2>(a, row);
  for (; row < a.rows; ++row) dense_strips<T, 1>(a, row);
  activate_rows(a.activation, a.y, a.rows, a.y_stride, a.out);
}

}  // namespace
}  // namespace tailrace::kernels::TAILRACE_ISA
