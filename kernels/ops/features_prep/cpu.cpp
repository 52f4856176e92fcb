// One source for every level: the compiler's vectors are as wide as the level has them. Rows are taken eight at a time, so that the
// six numbers of a column are loaded once for eight values; the columns behind the last full vector go one by one.
#include "ops/features_prep/cpu.hpp"

#include <cstring>

#include "cpu/target.hpp"

namespace tailrace::kernels::TAILRACE_ISA {
namespace {

#if TAILRACE_ISA_LEVEL >= 2
constexpr std::size_t kVectorBytes = 64;
#elif TAILRACE_ISA_LEVEL == 1
constexpr std::size_t kVectorBytes = 32;
#else
constexpr std::size_t kVectorBytes = 16;
#endif

template <class T>
struct Lanes;
template <>
struct Lanes<float> {
  typedef float Vector __attribute__((vector_size(kVectorBytes)));
  typedef float Narrow __attribute__((vector_size(kVectorBytes)));
};
template <>
struct Lanes<double> {
  typedef double Vector __attribute__((vector_size(kVectorBytes)));
  typedef float Narrow __attribute__((vector_size(kVectorBytes / 2)));
};

template <class T>
constexpr std::size_t kLanes = kVectorBytes / sizeof(T);

template <class T>
inline typename Lanes<T>::Vector load(const T* from) {
  typename Lanes<T>::Vector vector;
  std::memcpy(&vector, from, sizeof vector);
  return vector;
}

template <class T>
inline void store(float* to, typename Lanes<T>::Vector vector) {
  const auto narrow = __builtin_convertvector(vector, typename Lanes<T>::Narrow);
  std::memcpy(to, &narrow, sizeof narrow);
}

// A NaN becomes a limit here and there; the last line puts in what stands for a missing value.
template <class V>
inline V scaled(V x, V missing, V low, V high, V centre, V inverse, V shift) {
  V y = (x - centre) * inverse + shift;
  y = y > low ? y : low;
  y = y < high ? y : high;
  return x == x ? y : missing;
}

template <class T, std::size_t Rows>
__attribute__((always_inline)) inline void scale_block(const ScaleRows<T>& a, const T* x, float* out) {
  const auto& s = a.scale;
  std::size_t c = 0;
  for (; c + kLanes<T> <= a.columns; c += kLanes<T>) {
    const auto missing = load(s.missing + c), low = load(s.low + c), high = load(s.high + c);
    const auto centre = load(s.centre + c), inverse = load(s.inverse + c), shift = load(s.shift + c);
#pragma GCC unroll 8
    for (std::size_t r = 0; r < Rows; ++r)
      store<T>(out + r * a.out_stride + c,
               scaled(load(x + r * a.columns + c), missing, low, high, centre, inverse, shift));
  }
  for (; c < a.columns; ++c)
    for (std::size_t r = 0; r < Rows; ++r)
      out[r * a.out_stride + c] = static_cast<float>(
          scaled(x[r * a.columns + c], s.missing[c], s.low[c], s.high[c], s.centre[c], s.inverse[c], s.shift[c]));
}

template <class T>
void scale(const ScaleRows<T>& given) {
  const ScaleRows<T> a = given;  // a copy that no store can change
  std::size_t r = 0;
  for (; r + 8 <= a.rows; r += 8) scale_block<T, 8>(a, a.x + r * a.columns, a.out + r * a.out_stride);
  for (; r < a.rows; ++r) scale_block<T, 1>(a, a.x + r * a.columns, a.out + r * a.out_stride);
}

template <class T>
void check(const CheckRows<T>& given) {
  const CheckRows<T> a = given;
  for (std::size_t r = 0; r < a.rows; ++r) {
    const T* x = a.x + r * a.columns;
    std::size_t c = 0;
    using Wrong = decltype(load(x) < load(x));
    Wrong wrong = {};
    for (; c + kLanes<T> <= a.columns; c += kLanes<T>) {
      const auto v = load(x + c);
      wrong |= (v < load(a.low + c)) | (v > load(a.high + c));
      if (!a.nan_is_valid) wrong |= v != v;
    }
    bool any = false;
    for (std::size_t lane = 0; lane < kLanes<T>; ++lane) any |= wrong[lane] != 0;
    for (; c < a.columns; ++c) any |= x[c] < a.low[c] || x[c] > a.high[c] || (!a.nan_is_valid && x[c] != x[c]);
    a.valid[r] = !any;
  }
}

}  // namespace

extern const FeaturesPrepKernels features_prep;
const FeaturesPrepKernels features_prep{scale<float>, scale<double>, check<float>, check<double>};

}  // namespace tailrace::kernels::TAILRACE_ISA

#include "cpu/end_target.hpp"
