#include "ops/pca_project/cpu.hpp"

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>

#include "cpu/half.hpp"

#include "cpu/target.hpp"

#include "cpu/dense.hpp"

namespace tailrace::kernels::TAILRACE_ISA {
namespace {

std::size_t packed_floats(std::size_t features, std::size_t components) {
  return packed_elements(features, components);
}

// As pack_dense of the transposed components would be, which are never laid out.
void pack(const float* components, const float* factors, std::size_t features, std::size_t count, float* packed) {
  for (std::size_t j = 0; j < count; j += kPanel) {
    const std::size_t columns = least(kPanel, count - j), width = whole_lanes(columns);
    for (std::size_t c = 0; c < width; ++c) {
      const float* row = components + (j + c) * features;
      const float factor = c >= columns ? 0.0f : factors == nullptr ? 1.0f : factors[j + c];
      for (std::size_t k = 0; k < features; ++k) packed[k * width + c] = c < columns ? row[k] * factor : 0.0f;
    }
    packed += features * width;
  }
}

void centre(const float* x, const float* mean, std::size_t features, float* out) {
  std::size_t k = 0;
  for (; k + kLanes <= features; k += kLanes) store(out + k, load(x + k) - load(mean + k));
  if (k < features) store(out + k, load(x + k, features - k) - load(mean + k, features - k), features - k);
}

void project(const ProjectRows& a) {
  for (std::size_t row = 0; row < a.rows; row += kCentredRows) {
    const std::size_t rows = least(kCentredRows, a.rows - row);
    for (std::size_t r = 0; r < rows; ++r)
      centre(a.x + (row + r) * a.features, a.mean, a.features, a.centred + r * a.features);
    dense_packed<float>({a.centred, rows, a.features, a.packed, a.features, a.components, nullptr,
                         a.y + row * a.components, a.components, Activation::none});
  }
}

}  // namespace

const PcaProjectKernels pca_project{&packed_floats, &pack, &project};

}  // namespace tailrace::kernels::TAILRACE_ISA

#include "cpu/end_target.hpp"
