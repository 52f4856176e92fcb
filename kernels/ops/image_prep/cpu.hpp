// cpu.hpp -- what the CPU kernels of image_prep take and do: tables of columns and rows, and two functions per level.
//
// What      `ImagePrepTask`: one call; `ImagePrepKernels`: the functions, read through `image_prep()`.
// Why       Where an output pixel looks, and with which weights, depends on the two sizes alone: it is worked out once (plan.hpp).
//           Across a row the weights are 16-bit integers, so that one multiply-add takes the left and the right pixel; products and
//           their sum are exact in 32 bits and in a float. Down the columns it is float.
// Threads   The tables are read only; each call brings its own scratch.
// Checked   tests/cpp/kernels/test_image_prep.cpp (bounds, every level), tests/kernels/test_image_prep.py (values).
#pragma once

#include <cstddef>
#include <cstdint>

#include "cpu/isa.hpp"

namespace tailrace::kernels {

inline constexpr std::size_t kImageGroup = 16;  // output pixels of one window
inline constexpr std::size_t kImageWindow = 192;  // source bytes that a window may span: three registers

struct ImagePrepTask {
  const std::uint8_t* images = nullptr;  // [count, source_height, source_width, 3]
  float* out = nullptr;  // [count, channels, height, width]
  float* scratch = nullptr;  // ImagePlan::scratch_floats()
  std::size_t count = 0;
  std::size_t source_height = 0, source_width = 0, height = 0, width = 0;
  std::size_t channels = 0;  // of the output: 1 is grey, 3 is colour

  // Two taps: rows.
  const std::int32_t* row_above = nullptr;  // [height]
  const std::int32_t* row_below = nullptr;  // [height]
  const float* row_share = nullptr;  // [height], the weight of the row below
  // Two taps: columns. Grey: weights of left R, G, B, right R, G, B. Colour: left, right, three times. Then two zeros.
  const std::int32_t* column_offset = nullptr;  // [width], in bytes, of the left pixel
  const std::int16_t* column_weights = nullptr;  // [width, 8]
  std::size_t column_roomy = 0;  // so many first columns have eight readable bytes at their offset
  // The same columns in groups of 16, or null where a group spans more than a window.
  const std::int32_t* window_start = nullptr;  // [groups], in bytes
  const std::uint8_t* window_index =
      nullptr;  // [groups, 64]: bytes 4i and 4i + 2 say where pixel i's left and right red are
  const std::int16_t* window_weights = nullptr;  // [groups, grey ? 3 : 1, 32]
  // Many taps (antialias), tap-major.
  std::size_t row_taps = 0, column_taps = 0;
  const std::int32_t* row_first = nullptr;  // [height]
  const float* row_tap_weights = nullptr;  // [height, row_taps]
  const std::int32_t* column_first = nullptr;  // [width], in pixels
  const float* column_tap_weights = nullptr;  // [column_taps, width]
  float grey[3] = {};  // weights of R, G, B
  float gain[3] = {}, bias[3] = {};  // out = sum * gain + bias, per channel of the output
};

struct ImagePrepKernels {
  void (*bilinear)(const ImagePrepTask& task);
  void (*antialiased)(const ImagePrepTask& task);
};

TAILRACE_KERNELS_TABLE(ImagePrepKernels, image_prep);

}  // namespace tailrace::kernels
