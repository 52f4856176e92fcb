// cpu.hpp -- small convolutions: direct, with bias, relu and max-pooling before anything is stored.
//
// What      `Conv2dKernels`: one call per image; `Conv2dCall`.
// Why       A convolution is a dense layer whose inputs overlap. Copied out (im2col), a 3 x 3 one reads and writes nine times its
//           image; here a tile of channels by pixels takes its inputs where they lie, moved by an offset each. Pooling a strip
//           of rows that is still in the cache stores a quarter of what a pass of its own would have to read.
// Threads   Any; writes `y` and its scratch only.
// Source    Georganas et al. 2018, "Anatomy of high-performance deep learning convolutions on SIMD architectures", section 2.
// Checked   tests/kernels/test_ops.py against reference.py; tests/cpp/kernels/test_conv2d_small.cpp for what lies behind the ends.
#pragma once

#include <cstddef>

#include "cpu/isa.hpp"

namespace tailrace::kernels {

struct Conv2dShape {
  std::size_t channels, height, width;  // of the image
  std::size_t out, kernel_h, kernel_w;  // of the weights [out, channels, kernel_h, kernel_w]
  std::size_t stride, padding, pool;
  std::size_t conv_h, conv_w;  // before pooling
  std::size_t out_h, out_w;  // after it: conv / pool, rounded down
  std::size_t inputs() const { return channels * kernel_h * kernel_w; }
};

struct Conv2dCall {
  Conv2dShape shape;
  const float* x;  // [channels, height, width]
  const float* weights;  // [out, inputs]
  const float* bias;  // [out], or null
  float* y;  // [out, out_h, out_w]
  float* scratch;  // of `scratch_floats`
  bool relu;
};

struct Conv2dKernels {
  std::size_t (*scratch_floats)(const Conv2dShape&);
  void (*image)(const Conv2dCall&);
};

TAILRACE_KERNELS_TABLE(Conv2dKernels, conv2d_small);

}  // namespace tailrace::kernels
