// cpu.hpp -- the kernels of features_prep: impute, clip and scale in one pass; which rows hold a wrong value; learnt moments.
//
// What      `FeaturesPrepKernels`, the table that cpu.cpp fills for each instruction set, and the arguments of its kernels.
// Why       NumPy walks the table once for each of impute, clip, subtract and divide, into a new array each time. Here a value is
//           loaded once, and its column's six numbers serve eight rows.
// Threads   Kernels are pure: one call writes its own output only.
// Source    Centre in two halves: Dekker 1971, "A floating-point technique for extending the available precision", section 3.
// Checked   tests/cpp/kernels/test_features_prep.cpp (tails, under ASan), tests/kernels/test_features_prep.py.
#pragma once

#include <cstddef>
#include <cstdint>

#include "cpu/isa.hpp"

namespace tailrace::kernels {

// out = min(max((x - centre) * inverse + shift, low), high), or `missing` where x is NaN. What float32 cannot hold of the
// centre is in the shift; the limits stand in units of the output, where they are as exact as it is.
template <class T>
struct ColumnScale {
  const T* missing;
  const T* low;
  const T* high;
  const T* centre;
  const T* inverse;
  const T* shift;
};

template <class T>
struct ScaleRows {
  const T* x;  // [rows, columns]
  float* out;  // row r begins at out + r * out_stride
  std::size_t rows;
  std::size_t columns;
  std::size_t out_stride;
  ColumnScale<T> scale;
};

template <class T>
struct CheckRows {
  const T* x;  // [rows, columns]
  bool* valid;
  std::size_t rows;
  std::size_t columns;
  const T* low;  // [columns], inclusive
  const T* high;
  bool nan_is_valid;
};

struct FeaturesPrepKernels {
  void (*scale_f32)(const ScaleRows<float>&);
  void (*scale_f64)(const ScaleRows<double>&);
  void (*check_f32)(const CheckRows<float>&);
  void (*check_f64)(const CheckRows<double>&);
};

TAILRACE_KERNELS_TABLE(FeaturesPrepKernels, features_prep);

}  // namespace tailrace::kernels
