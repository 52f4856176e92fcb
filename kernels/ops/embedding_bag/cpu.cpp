#include "ops/embedding_bag/cpu.hpp"

#include <cstddef>
#include <cstdint>

#include "cpu/target.hpp"
#include "cpu/vec.hpp"

namespace tailrace::kernels::TAILRACE_ISA {
namespace {

inline constexpr std::size_t kColumns = 4;  // vectors of one row that are summed in registers side by side
inline constexpr std::int64_t kAhead = 16;  // items; a row from memory takes about that long to sum

// One row per item summed, by the pass over a bag's first columns: in a burst they would wait for each other.
template <class T>
TAILRACE_INLINE void prefetch_after(const EmbeddingBagArgs<T>& a, std::int64_t item, std::size_t column) {
  if (column != 0 || item + kAhead >= a.offsets[a.bags]) return;
  const auto* row = reinterpret_cast<const char*>(a.table + static_cast<std::size_t>(a.indices[item + kAhead]) * a.dim);
  for (std::size_t b = 0; b < a.dim * sizeof(T) && b < 512; b += 64) __builtin_prefetch(row + b);
}

template <class T>
TAILRACE_INLINE float weight_of(const EmbeddingBagArgs<T>& a, std::int64_t item) {
  float weight = a.weights != nullptr ? a.weights[item] : 1.0f;
  if (a.scales != nullptr) weight *= a.scales[a.indices[item]];
  return weight;
}

template <class T>
void whole_columns(const EmbeddingBagArgs<T>& a, std::int64_t from, std::int64_t to, std::size_t column, float norm,
                   float* out) {
  F32 sums[kColumns];
  for (auto& part : sums) part = splat(0);
  for (std::int64_t i = from; i < to; ++i) {
    const T* row = a.table + static_cast<std::size_t>(a.indices[i]) * a.dim + column;
    const F32 weight = splat(weight_of(a, i));
    prefetch_after(a, i, column);
    for (std::size_t c = 0; c < kColumns; ++c) sums[c] = fma(load(row + c * kLanes), weight, sums[c]);
  }
  for (std::size_t c = 0; c < kColumns; ++c) store(out + column + c * kLanes, sums[c] * splat(norm));
}

template <class T>
void last_columns(const EmbeddingBagArgs<T>& a, std::int64_t from, std::int64_t to, std::size_t column, float norm,
                  float* out) {
  for (; column < a.dim; column += kLanes) {
    const std::size_t n = a.dim - column;
    F32 sums = splat(0);
    for (std::int64_t i = from; i < to; ++i) {
      const T* row = a.table + static_cast<std::size_t>(a.indices[i]) * a.dim + column;
      prefetch_after(a, i, column);
      sums = fma(load(row, n), splat(weight_of(a, i)), sums);
    }
    store(out + column, sums * splat(norm), n);
  }
}

template <class T>
void run(const EmbeddingBagArgs<T>& a) {
  for (std::size_t bag = 0; bag < a.bags; ++bag) {
    const std::int64_t from = a.offsets[bag], to = a.offsets[bag + 1];
    const float norm = a.mean && to > from ? 1.0f / static_cast<float>(to - from) : 1.0f;
    float* out = a.out + bag * a.dim;
    std::size_t column = 0;
    for (; column + kColumns * kLanes <= a.dim; column += kColumns * kLanes)
      whole_columns(a, from, to, column, norm, out);
    last_columns(a, from, to, column, norm, out);
  }
}

}  // namespace

const EmbeddingBagKernels embedding_bag{&run<float>, &run<Half>, &run<std::int8_t>};

}  // namespace tailrace::kernels::TAILRACE_ISA

#include "cpu/end_target.hpp"
