// projection.hpp -- components and mean, packed once for many calls.
//
// What      `Projection`: owns what the kernels read; `project(x, rows, y)`.
// Why       The packed layout belongs to the level of one table, so table and layout stay together.
// Threads   Immutable once built; scratch memory is the thread's.
// Checked   tests/cpp/kernels/test_pca_project.cpp, tests/kernels/test_pca_project.py.
#pragma once

#include <algorithm>
#include <cstddef>
#include <memory>
#include <new>
#include <vector>

#include "cpu/scratch.hpp"
#include "ops/pca_project/cpu.hpp"

namespace tailrace::kernels {

class Projection {
 public:
  // `components` is [count, features]; `factors` [count], or null.
  Projection(const float* components, const float* mean, const float* factors, std::size_t features, std::size_t count)
      : kernels_(&pca_project()), features_(features), components_(count), mean_(mean, mean + features) {
    const std::size_t bytes = std::max<std::size_t>(kernels_->packed_floats(features, count), 1) * sizeof(float);
    packed_.reset(static_cast<float*>(::operator new(bytes, std::align_val_t{64})));
    kernels_->pack(components, factors, features, count, packed_.get());
  }

  std::size_t features() const { return features_; }
  std::size_t components() const { return components_; }

  void project(const float* x, std::size_t rows, float* y) const {
    const std::size_t bytes = std::min(rows, kCentredRows) * features_ * sizeof(float);
    auto* centred = reinterpret_cast<float*>(scratch<Projection>(bytes));
    kernels_->project({x, mean_.data(), packed_.get(), y, centred, rows, features_, components_});
  }

 private:
  struct Free {
    void operator()(float* block) const { ::operator delete(block, std::align_val_t{64}); }
  };

  const PcaProjectKernels* kernels_;
  std::size_t features_;
  std::size_t components_;
  std::vector<float> mean_;
  std::unique_ptr<float, Free> packed_;
};

}  // namespace tailrace::kernels
