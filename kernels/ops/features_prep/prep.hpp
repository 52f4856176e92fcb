// prep.hpp -- what a fitted FeaturesPrep has learnt, laid out for the kernels.
//
// What      `RowsPrep`: six numbers for each numeric column, in float32 and in float64, and an encoder of category columns.
// Why       Narrow rows would leave lanes empty: where nothing else stands in the output, several rows are taken for one wide row,
//           whose columns repeat.
// Threads   Immutable once built; rows may be prepared on any number of threads.
// Source    None.
// Checked   tests/cpp/kernels/test_features_prep.cpp, tests/kernels/test_features_prep.py.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <numeric>
#include <optional>
#include <vector>

#include "ops/features_prep/cpu.hpp"
#include "ops/features_prep/encode.hpp"

namespace tailrace::kernels {

// Each of `columns` numbers. A NaN in `fill` leaves missing values missing; limits may be infinite.
struct LearntColumns {
  const double* fill;
  const double* low;
  const double* high;
  const double* centre;
  const double* spread;  // not 0
};

template <class T>
class PackedColumns {
 public:
  PackedColumns(std::size_t columns, std::size_t repeats, const LearntColumns& learnt)
      : stride_(columns * repeats), numbers_(6 * stride_) {
    for (std::size_t c = 0; c < columns; ++c) {
      const double centre = learnt.centre[c], inverse = 1 / learnt.spread[c];
      const T held = static_cast<T>(centre);
      const double filled = std::fmin(std::fmax(learnt.fill[c], learnt.low[c]), learnt.high[c]);
      const T packed[6] = {static_cast<T>(std::isnan(learnt.fill[c]) ? learnt.fill[c] : (filled - centre) * inverse),
                           static_cast<T>((learnt.low[c] - centre) * inverse),
                           static_cast<T>((learnt.high[c] - centre) * inverse),
                           held,
                           static_cast<T>(inverse),
                           static_cast<T>((static_cast<double>(held) - centre) * inverse)};
      for (std::size_t i = 0; i < 6; ++i)
        for (std::size_t k = 0; k < repeats; ++k) numbers_[i * stride_ + k * columns + c] = packed[i];
    }
  }

  ColumnScale<T> scale() const {
    const T* p = numbers_.data();
    return {p, p + stride_, p + 2 * stride_, p + 3 * stride_, p + 4 * stride_, p + 5 * stride_};
  }

 private:
  std::size_t stride_;
  std::vector<T> numbers_;
};

class RowsPrep {
 public:
  RowsPrep(std::size_t columns, const LearntColumns& learnt, CategoryEncoder encoder)
      : kernels_(&features_prep()),
        columns_(columns),
        repeats_(columns < kNarrow && encoder.width() == 0 ? repeats_for(columns) : 1),
        f32_(columns, repeats_, learnt),
        f64_(columns, repeats_, learnt),
        encoder_(std::move(encoder)) {}

  std::size_t columns() const { return columns_; }
  std::size_t categories() const { return encoder_.columns(); }
  std::size_t width() const { return columns_ + encoder_.width(); }

  // `x` is [rows, columns()], `out` [rows, width()].
  void scale(const float* x, std::size_t rows, float* out) const {
    scale_with(kernels_->scale_f32, f32_, x, rows, out);
  }
  void scale(const double* x, std::size_t rows, float* out) const {
    scale_with(kernels_->scale_f64, f64_, x, rows, out);
  }

  std::optional<UnknownCategory> encode(const std::int64_t* categories, std::size_t rows, float* out) const {
    return encoder_.encode(categories, rows, out + columns_, width());
  }

 private:
  static constexpr std::size_t kNarrow = 128;  // numbers: eight of the widest vectors

  // A wide row then is whole vectors of any level, and at least kNarrow long.
  static std::size_t repeats_for(std::size_t columns) {
    if (columns == 0) return 1;  // a table of categories only
    const std::size_t whole = 16 / std::gcd(columns, std::size_t{16});
    return whole * ((kNarrow + whole * columns - 1) / (whole * columns));
  }

  template <class T>
  void scale_with(void (*kernel)(const ScaleRows<T>&), const PackedColumns<T>& packed, const T* x, std::size_t rows,
                  float* out) const {
    const std::size_t wide = rows / repeats_, narrow = rows % repeats_;
    const std::size_t wide_columns = columns_ * repeats_;
    kernel({x, out, wide, wide_columns, repeats_ > 1 ? wide_columns : width(), packed.scale()});
    if (narrow > 0)  // fewer rows than a wide one holds are its beginning
      kernel({x + wide * wide_columns, out + wide * wide_columns, 1, narrow * columns_, 0, packed.scale()});
  }

  const FeaturesPrepKernels* kernels_;
  std::size_t columns_;
  std::size_t repeats_;
  PackedColumns<float> f32_;
  PackedColumns<double> f64_;
  CategoryEncoder encoder_;
};

}  // namespace tailrace::kernels
