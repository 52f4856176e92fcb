// cpu.hpp -- rows less their mean, onto components.
//
// What      `PcaProjectKernels`: how components are packed, and the projection of some rows.
// Why       It is a dense layer whose weights are the components, so the dense core computes it. The mean is taken from the rows and
//           not put into a bias: where it is large, the bias would leave the rounding of large sums.
// Threads   Any; writes `y` and `centred` only.
// Source    Pearson 1901, "On lines and planes of closest fit to systems of points in space"; the core: cpu/dense.hpp.
// Checked   tests/kernels/test_ops.py against reference.py; tests/cpp/kernels/test_pca_project.cpp for what lies behind the ends.
#pragma once

#include <cstddef>

#include "cpu/isa.hpp"

namespace tailrace::kernels {

// Rows that are centred together: they stay in the second cache, and the components are read once for eight.
inline constexpr std::size_t kCentredRows = 64;

struct ProjectRows {
  const float* x;  // [rows, features]
  const float* mean;  // [features]
  const float* packed;  // by `pack` of the same table
  float* y;  // [rows, components]
  float* centred;  // [min(rows, kCentredRows), features]
  std::size_t rows;
  std::size_t features;
  std::size_t components;
};

struct PcaProjectKernels {
  std::size_t (*packed_floats)(std::size_t features, std::size_t components);
  // `components` is [components, features], `factors` [components], or null for ones.
  void (*pack)(const float* components, const float* factors, std::size_t features, std::size_t count, float* packed);
  void (*project)(const ProjectRows&);
};

TAILRACE_KERNELS_TABLE(PcaProjectKernels, pca_project);

}  // namespace tailrace::kernels
