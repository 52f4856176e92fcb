// Both products are the same tile: some rows, found through pointers, by some columns of a row-major weight. Sums stay in registers
// over all inputs, so that weights are read once, forward, and y once.
#include "ops/lora_bgmv/cpu.hpp"

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "cpu/target.hpp"

#include "cpu/vec.hpp"

namespace tailrace::kernels::TAILRACE_ISA {
namespace {

#if TAILRACE_ISA_LEVEL >= 2
inline constexpr std::size_t kRows = 8;
#else
inline constexpr std::size_t kRows = 4;
#endif
inline constexpr std::size_t kVecs = 3;
static_assert(kRows <= kMostLoraRows);

template <class T>
struct Product {
  const float* x[kRows];
  float* y[kRows];
  std::size_t in;
  const T* w;  // [in, columns]
  std::size_t columns;
  float factor;
  bool add;
};

template <class T, std::size_t R, std::size_t V, bool Whole>
TAILRACE_INLINE void tile(const Product<T>& p, std::size_t column) {
  constexpr std::size_t U = R * V >= 8 ? 1 : R * V >= 4 ? 2 : 4;  // sums in flight hide what a multiply-add takes
  const std::size_t last = p.columns - column - (V - 1) * kLanes;
  const std::size_t stride = p.columns;
  const T* w = p.w + column;
  const float* x[R];
  for (std::size_t r = 0; r < R; ++r) x[r] = p.x[r];
  const auto weight = [w, stride, last](std::size_t k, std::size_t v) {
    const T* from = w + k * stride + v * kLanes;
    return Whole || v + 1 < V ? load(from) : load(from, last);
  };
  F32 sums[U][R][V] = {};
  std::size_t k = 0;
  for (; k + U <= p.in; k += U) {
    for (std::size_t u = 0; u < U; ++u) {
      F32 weights[V];
      for (std::size_t v = 0; v < V; ++v) weights[v] = weight(k + u, v);
      for (std::size_t r = 0; r < R; ++r) {
        const F32 value = splat(x[r][k + u]);
        for (std::size_t v = 0; v < V; ++v) sums[u][r][v] = fma(value, weights[v], sums[u][r][v]);
      }
    }
  }
  for (; k < p.in; ++k)
    for (std::size_t v = 0; v < V; ++v)
      for (std::size_t r = 0; r < R; ++r) sums[0][r][v] = fma(splat(x[r][k]), weight(k, v), sums[0][r][v]);
  const F32 factor = splat(p.factor);
  for (std::size_t r = 0; r < R; ++r) {
    for (std::size_t v = 0; v < V; ++v) {
      for (std::size_t u = 1; u < U; ++u) sums[0][r][v] += sums[u][r][v];
      float* y = p.y[r] + column + v * kLanes;
      const bool whole = Whole || v + 1 < V;
      const F32 before = !p.add  ? splat(0)
                         : whole ? load(static_cast<const float*>(y))
                                 : load(static_cast<const float*>(y), last);
      const F32 result = fma(sums[0][r][v], factor, before);
      if (whole)
        store(y, result);
      else
        store(y, result, last);
    }
  }
}

template <class T, std::size_t R>
__attribute__((noinline)) void all_columns(const Product<T>& p) {
  std::size_t j = 0;
  for (; j + kVecs * kLanes <= p.columns; j += kVecs * kLanes) tile<T, R, kVecs, true>(p, j);
  const std::size_t left = p.columns - j;
  if (left == 2 * kLanes) return tile<T, R, 2, true>(p, j);
  if (left == kLanes) return tile<T, R, 1, true>(p, j);
  if (left > 2 * kLanes) return tile<T, R, 3, false>(p, j);
  if (left > kLanes) return tile<T, R, 2, false>(p, j);
  if (left > 0) return tile<T, R, 1, false>(p, j);
}

template <class T, std::size_t R = kRows>
void product(std::size_t rows, const Product<T>& p) {
  if (rows == R) return all_columns<T, R>(p);
  if constexpr (R > 1) product<T, R - 1>(rows, p);
}

// One row by a weight of few inputs: eight inputs at a time over all columns, so that memory is read as eight long streams and
// not as `in` short ones; y lies in the cache meanwhile.
template <class T, std::size_t K>
__attribute__((noinline)) void strip(const Product<T>& p, std::size_t k) {
  const T* w = p.w + k * p.columns;
  float* y = p.y[0];
  const bool fresh = k == 0 && !p.add;
  F32 values[K];
  for (std::size_t i = 0; i < K; ++i) values[i] = splat(p.x[0][k + i] * p.factor);
  std::size_t j = 0;
  for (; j + kLanes <= p.columns; j += kLanes) {
    F32 sum = fresh ? splat(0) : load(static_cast<const float*>(y + j));
    for (std::size_t i = 0; i < K; ++i) sum = fma(values[i], load(w + i * p.columns + j), sum);
    store(y + j, sum);
  }
  if (const std::size_t left = p.columns - j; left > 0) {
    F32 sum = fresh ? splat(0) : load(static_cast<const float*>(y + j), left);
    for (std::size_t i = 0; i < K; ++i) sum = fma(values[i], load(w + i * p.columns + j, left), sum);
    store(y + j, sum, left);
  }
}

template <class T>
void strips(const Product<T>& p) {
  std::size_t k = 0;
  for (; k + 8 <= p.in; k += 8) strip<T, 8>(p, k);
  for (; k < p.in; ++k) strip<T, 1>(p, k);
}

template <class T>
void adapt(const LoraArgs<T>& a, std::size_t adapter, const std::uint32_t* rows, std::size_t count) {
  Product<T> shrink{}, expand{};
  shrink.in = a.hidden;
  shrink.w = a.a + adapter * a.hidden * a.rank;
  shrink.columns = expand.in = a.rank;
  shrink.factor = a.scale;
  expand.w = a.b + adapter * a.rank * a.out;
  expand.columns = a.out;
  expand.factor = 1;
  expand.add = a.accumulate;
  for (std::size_t r = 0; r < count; ++r) {
    shrink.x[r] = a.x + rows[r] * a.hidden;
    shrink.y[r] = a.low + r * a.rank;
    expand.x[r] = a.low + r * a.rank;
    expand.y[r] = a.y + rows[r] * a.out;
  }
  product<T>(count, shrink);
  if (count == 1 && a.rank > 0)  // of nothing, strips would write nothing
    strips<T>(expand);
  else
    product<T>(count, expand);
}

template <class T>
void run(const LoraArgs<T>& a) {
  if (!a.accumulate)
    for (std::size_t i = 0; i < a.offsets[1]; ++i) std::memset(a.y + a.order[i] * a.out, 0, a.out * sizeof(float));
  for (std::size_t adapter = 0; adapter < a.adapters; ++adapter) {
    std::size_t at = a.offsets[adapter + 1];
    const std::size_t end = a.offsets[adapter + 2];
    while (at < end) {
      const std::size_t tiles = (end - at + kRows - 1) / kRows;
      const std::size_t count = (end - at + tiles - 1) / tiles;
      adapt(a, adapter, a.order + at, count);
      at += count;
    }
  }
}

}  // namespace

const LoraKernels lora_bgmv{&run<float>, &run<Half>};

}  // namespace tailrace::kernels::TAILRACE_ISA

#include "cpu/end_target.hpp"
