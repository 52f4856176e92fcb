// test_conv2d_small.cpp -- convolutions at every level, in buffers that end where the arrays end.
#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "../harness.hpp"
#include "levels.hpp"
#include "ops/conv2d_small/cpu.hpp"

namespace {

using namespace tailrace::kernels;

float small(std::size_t i) { return static_cast<float>(i * 7 % 13) - 6.0f; }

float pixel(const Conv2dShape& s, const std::vector<float>& x, const std::vector<float>& w, std::size_t o,
            std::size_t row, std::size_t column) {
  float sum = 0;
  for (std::size_t c = 0; c < s.channels; ++c)
    for (std::size_t i = 0; i < s.kernel_h; ++i)
      for (std::size_t j = 0; j < s.kernel_w; ++j) {
        const std::size_t y = row * s.stride + i - s.padding, z = column * s.stride + j - s.padding;  // wraps: outside
        if (y >= s.height || z >= s.width) continue;
        sum += x[(c * s.height + y) * s.width + z] * w[((o * s.channels + c) * s.kernel_h + i) * s.kernel_w + j];
      }
  return sum;
}

void image_is_right(Isa isa, const Conv2dShape& s) {
  std::vector<float> x(s.channels * s.height * s.width), w(s.out * s.inputs()), bias(s.out);
  for (std::size_t i = 0; i < x.size(); ++i) x[i] = small(i);
  for (std::size_t i = 0; i < w.size(); ++i) w[i] = small(i + 4);
  for (std::size_t i = 0; i < bias.size(); ++i) bias[i] = small(i + 8);
  std::vector<float> y(s.out * s.out_h * s.out_w, std::numeric_limits<float>::quiet_NaN());
  const Conv2dKernels& kernels = conv2d_small(isa);
  std::vector<float> scratch(kernels.scratch_floats(s), std::numeric_limits<float>::quiet_NaN());
  kernels.image({s, x.data(), w.data(), bias.data(), y.data(), scratch.data(), true});
  for (std::size_t o = 0; o < s.out; ++o)
    for (std::size_t row = 0; row < s.out_h; ++row)
      for (std::size_t column = 0; column < s.out_w; ++column) {
        float best = -std::numeric_limits<float>::infinity();
        for (std::size_t i = 0; i < s.pool * s.pool; ++i)
          best = std::max(best, pixel(s, x, w, o, row * s.pool + i / s.pool, column * s.pool + i % s.pool));
        const float expected = std::max(0.0f, best + bias[o]);
        const float result = y[(o * s.out_h + row) * s.out_w + column];
        if (!(std::abs(result - expected) <= 1e-3f)) CHECK_EQ(result, expected);
      }
}

TEST(convolutions_end_where_they_end) {
  tailrace::test::for_each_level([](Isa isa) {
    for (std::size_t width : {4u, 31u, 50u, 66u})
      for (std::size_t stride : {1u, 2u})
        for (std::size_t pool : {1u, 2u, 3u})
          for (std::size_t padding : {0u, 2u}) {
            Conv2dShape s{2, 8, width, 9, 3, 2, stride, padding, pool, 0, 0, 0, 0};
            s.conv_h = (s.height + 2 * padding - s.kernel_h) / stride + 1;
            s.conv_w = (s.width + 2 * padding - s.kernel_w) / stride + 1;
            s.out_h = s.conv_h / pool;
            s.out_w = s.conv_w / pool;
            image_is_right(isa, s);
          }
  });
}

}  // namespace
