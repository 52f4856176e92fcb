// A tile is some output channels by some vectors of pixels of one row; its inputs lie at a fixed offset each from its first pixel. With
// stride 1 these are offsets into the padded image; else the row's inputs are laid out first, pixel beside pixel. Rows go into a strip
// as wide as whole vectors, so nothing needs a mask until what the pooling leaves is stored.
#include "ops/conv2d_small/cpu.hpp"

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>

#include "cpu/half.hpp"

#include "cpu/target.hpp"

#include "cpu/vec.hpp"

namespace tailrace::kernels::TAILRACE_ISA {
namespace {

#if TAILRACE_ISA_LEVEL >= 2
inline constexpr std::size_t kChannels = 8;  // 24 registers of sums
#else
inline constexpr std::size_t kChannels = 4;
#endif
inline constexpr std::size_t kVecs = 3;

TAILRACE_INLINE std::size_t whole(std::size_t n) { return (n + kLanes - 1) / kLanes * kLanes; }

// Parts of the scratch memory, in floats.
struct Plan {
  std::size_t padded_h, padded_w;  // of the image with its padding
  std::size_t image;  // and a vector behind it, which the last pixels' loads reach into
  std::size_t strip_w;  // pixels of a row, up to whole vectors
  std::size_t panel;  // one row's inputs, if they are laid out
  std::size_t strip;  // one row of kChannels channels
  std::size_t offsets;

  explicit Plan(const Conv2dShape& s)
      : padded_h(s.height + 2 * s.padding),
        padded_w(s.width + 2 * s.padding),
        image(s.channels * padded_h * padded_w + kLanes),
        strip_w(whole(s.conv_w)),
        panel(s.stride == 1 ? 0 : s.inputs() * strip_w),
        strip(kChannels * strip_w),
        offsets(s.inputs() * sizeof(std::size_t) / sizeof(float)) {}
};

std::size_t scratch_floats(const Conv2dShape& s) {
  const Plan plan(s);
  return plan.offsets + plan.image + s.pool * (plan.panel + plan.strip) +
         kLanes;  // pairs of vectors may reach one behind
}

void pad(const Conv2dShape& s, const Plan& plan, const float* x, float* image) {
  std::memset(image, 0, plan.image * sizeof(float));
  for (std::size_t c = 0; c < s.channels; ++c)
    for (std::size_t row = 0; row < s.height; ++row, x += s.width)
      std::memcpy(image + (c * plan.padded_h + row + s.padding) * plan.padded_w + s.padding, x,
                  s.width * sizeof(float));
}

void find_offsets(const Conv2dShape& s, const Plan& plan, std::size_t* offsets) {
  std::size_t k = 0;
  for (std::size_t c = 0; c < s.channels; ++c)
    for (std::size_t i = 0; i < s.kernel_h; ++i)
      for (std::size_t j = 0; j < s.kernel_w; ++j, ++k)
        offsets[k] = s.stride == 1 ? (c * plan.padded_h + i) * plan.padded_w + j : k * plan.strip_w;
}

// The inputs of one row of pixels, side by side.
void lay_out(const Conv2dShape& s, const Plan& plan, const float* image, std::size_t row, float* panel) {
  for (std::size_t c = 0; c < s.channels; ++c)
    for (std::size_t i = 0; i < s.kernel_h; ++i)
      for (std::size_t j = 0; j < s.kernel_w; ++j, panel += plan.strip_w) {
        const float* from = image + (c * plan.padded_h + row * s.stride + i) * plan.padded_w + j;
        for (std::size_t p = 0; p < s.conv_w; ++p) panel[p] = from[p * s.stride];
        for (std::size_t p = s.conv_w; p < plan.strip_w; ++p) panel[p] = 0;
      }
}

template <std::size_t C, std::size_t V>
TAILRACE_INLINE void tile(const float* x, const std::size_t* offsets, std::size_t inputs, const float* weights,
                          float* strip, std::size_t strip_w) {
  F32 sums[C][V] = {};
  for (std::size_t k = 0; k < inputs; ++k) {
    F32 pixels[V];
    for (std::size_t v = 0; v < V; ++v) pixels[v] = load(x + offsets[k] + v * kLanes);
    for (std::size_t c = 0; c < C; ++c) {
      const F32 weight = splat(weights[c * inputs + k]);
      for (std::size_t v = 0; v < V; ++v) sums[c][v] = fma(weight, pixels[v], sums[c][v]);
    }
  }
  for (std::size_t c = 0; c < C; ++c)
    for (std::size_t v = 0; v < V; ++v) store(strip + c * strip_w + v * kLanes, sums[c][v]);
}

template <std::size_t C>
__attribute__((noinline)) void row_of(const float* x, const std::size_t* offsets, std::size_t inputs,
                                      const float* weights, float* strip, std::size_t strip_w) {
  std::size_t p = 0;
  for (; p + kVecs * kLanes <= strip_w; p += kVecs * kLanes)
    tile<C, kVecs>(x + p, offsets, inputs, weights, strip + p, strip_w);
  if (strip_w - p == 2 * kLanes) tile<C, 2>(x + p, offsets, inputs, weights, strip + p, strip_w);
  if (strip_w - p == kLanes) tile<C, 1>(x + p, offsets, inputs, weights, strip + p, strip_w);
}

template <std::size_t C = kChannels>
void row(std::size_t channels, const float* x, const std::size_t* offsets, std::size_t inputs, const float* weights,
         float* strip, std::size_t strip_w) {
  if (channels == C) return row_of<C>(x, offsets, inputs, weights, strip, strip_w);
  if constexpr (C > 1) row<C - 1>(channels, x, offsets, inputs, weights, strip, strip_w);
}

TAILRACE_INLINE float larger(float a, float b) { return a > b ? a : b; }

// The larger of each two neighbours of 2 * kLanes values.
TAILRACE_INLINE F32 larger_of_pairs(F32 a, F32 b) {
#if TAILRACE_ISA_LEVEL >= 2
  const F32 even = __builtin_shufflevector(a, b, 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
  const F32 odd = __builtin_shufflevector(a, b, 1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31);
#elif TAILRACE_ISA_LEVEL == 1
  const F32 even = __builtin_shufflevector(a, b, 0, 2, 4, 6, 8, 10, 12, 14);
  const F32 odd = __builtin_shufflevector(a, b, 1, 3, 5, 7, 9, 11, 13, 15);
#else
  const F32 even = __builtin_shufflevector(a, b, 0, 2, 4, 6);
  const F32 odd = __builtin_shufflevector(a, b, 1, 3, 5, 7);
#endif
  return max(odd, even);
}

// One channel of `pool` rows becomes a row of the output. Bias and relu come after the largest has been found: they keep order.
void finish(const Conv2dShape& s, const Plan& plan, float* strip, float bias, bool relu, float* y) {
  const F32 bound = splat(relu ? 0.0f : -std::numeric_limits<float>::infinity()), offset = splat(bias);
  const float* rows = strip;
  const auto put = [&](std::size_t p, F32 value) {
    const F32 result = max(bound, value + offset);
    if (p + kLanes <= s.out_w)
      store(y + p, result);
    else
      store(y + p, result, s.out_w - p);
  };
  if (s.pool == 2) {
    const float* below = rows + plan.strip;
    for (std::size_t p = 0; p < s.out_w; p += kLanes) {
      const F32 left = max(load(below + 2 * p), load(rows + 2 * p));
      const F32 right = max(load(below + 2 * p + kLanes), load(rows + 2 * p + kLanes));
      put(p, larger_of_pairs(left, right));
    }
    return;
  }
  for (std::size_t p = 0; s.pool > 2 && p < s.out_w; ++p) {
    float best = rows[p * s.pool];
    for (std::size_t i = 0; i < s.pool; ++i)
      for (std::size_t j = 0; j < s.pool; ++j) best = larger(rows[i * plan.strip + p * s.pool + j], best);
    strip[p] = best;  // to the left of what is still to be read
  }
  for (std::size_t p = 0; p < s.out_w; p += kLanes) put(p, load(rows + p));
}

void image(const Conv2dCall& a) {
  const Conv2dShape& s = a.shape;
  const Plan plan(s);
  const std::size_t inputs = s.inputs();
  auto* offsets = reinterpret_cast<std::size_t*>(a.scratch);
  float* padded = a.scratch + plan.offsets;
  float* panels = padded + plan.image;
  float* strips = panels + s.pool * plan.panel;
  pad(s, plan, a.x, padded);
  find_offsets(s, plan, offsets);
  for (std::size_t y = 0; y < s.out_h; ++y) {
    for (std::size_t i = 0; s.stride > 1 && i < s.pool; ++i)
      lay_out(s, plan, padded, y * s.pool + i, panels + i * plan.panel);
    for (std::size_t first = 0; first < s.out; first += kChannels) {
      const std::size_t channels = s.out - first < kChannels ? s.out - first : kChannels;
      for (std::size_t i = 0; i < s.pool; ++i) {
        const float* x = s.stride > 1 ? panels + i * plan.panel : padded + (y * s.pool + i) * plan.padded_w;
        row(channels, x, offsets, inputs, a.weights + first * inputs, strips + i * plan.strip, plan.strip_w);
      }
      for (std::size_t c = 0; c < channels; ++c)
        finish(s, plan, strips + c * plan.strip_w, a.bias == nullptr ? 0.0f : a.bias[first + c], a.relu,
               a.y + ((first + c) * s.out_h + y) * s.out_w);
    }
  }
}

}  // namespace

const Conv2dKernels conv2d_small{&scratch_floats, &image};

}  // namespace tailrace::kernels::TAILRACE_ISA

#include "cpu/end_target.hpp"
