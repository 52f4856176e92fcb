#include "ops/embedding_bag/cpu.hpp"

#include <cstddef>
#include <cstdint>

#include "cpu/target.hpp"
#include "cpu/vec.hpp"

namespace tailrace::kernels::TAILRACE_ISA {
namespace {

inline constexpr std::size_t kColumns = 4;  // vectors of one row that are summed in registers side by side
inline constexpr std::int64_t kAhead = 12;  // items; a row from memory takes about that long to sum

template <class T>
TAILRACE_INLINE void prefetch(const T* row, std::size_t dim) {
  const auto* bytes = reinterpret_cast<const char*>(row);
  for (std::size_t b = 0; b < dim * sizeof(T) && b < 512; b += 64) __builtin_prefetch(bytes + b);
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
      sums = fma(load(row, n), splat(weight_of(a, i)), sums);
    }
    store(out + column, sums * splat(norm), n);
  }
}

template <class T>
void run(const EmbeddingBagArgs<T>& a) {
  const std::int64_t items = a.offsets[a.bags];
  for (std::size_t bag = 0; bag < a.bags; ++bag) {
    const std::int64_t from = a.offsets[bag], to = a.offsets[bag + 1];
    for (std::int64_t i = from; i < to; ++i)
      if (i + kAhead < items) prefetch(a.table + static_cast<std::size_t>(a.indices[i + kAhead]) * a.dim, a.dim);
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
