// int4.hpp -- y = act(x w + b) with weights of four bits: rows stay float32, weights become floats in the register.
//
// What      `pack_int4`, `int4_packed`.
// Why       A weight of 4 bits is an eighth of the bytes; what is left to pay is turning codes into floats. Packed, a 32-bit lane
//           holds eight inputs of one output, so a shift brings each code to the low end of its lane, where a permute of the table
//           -8 ... 7 turns it into its float in one instruction. For one or two rows the scale waits until a group's sum is done.
// Threads   None: the caller's memory only. Include it after cpu/target.hpp only.
// Source    Weight-only groups: Frantar et al. 2022, "GPTQ", section 4; packing so that unpacking is shifts: Frantar et al. 2024,
//           "MARLIN", section 3.
// Checked   tests/cpp/kernels/test_mlp.cpp, tests/kernels/test_mlp_forward.py.
#pragma once

#include "cpu/dense.hpp"

namespace tailrace::kernels::TAILRACE_ISA {
namespace {

// Panels of kPanel outputs, each the groups one after the other: scales [outputs], then words [words of the group][outputs].
struct Int4Layout {
  std::size_t in;
  std::size_t group;

  std::size_t groups() const { return (in + group - 1) / group; }
  std::size_t inputs_of(std::size_t g) const { return least(group, in - g * group); }
  // 32-bit places for one output: a scale for each group and its words
  std::size_t places() const {
    const std::size_t last = inputs_of(groups() - 1);
    return groups() + (groups() - 1) * ((group + 7) / 8) + (last + 7) / 8;
  }
};

inline void pack_int4(const std::uint8_t* w, const float* scale, const Int4Layout& layout, std::size_t out,
                      std::uint32_t* packed) {
  for (std::size_t j = 0; j < out; j += kPanel) {
    const std::size_t columns = least(kPanel, out - j);
    const std::size_t width = whole_lanes(columns);
    for (std::size_t g = 0; g < layout.groups(); ++g) {
      std::memset(packed, 0, width * 4);
      std::memcpy(packed, scale + g * out + j, columns * 4);
      packed += width;
      for (std::size_t i = 0; i < layout.inputs_of(g); i += 8, packed += width) {
        const std::size_t first_input = g * layout.group + i;
        std::memset(packed, 0, width * 4);
        for (std::size_t n = 0; n < least(8, layout.inputs_of(g) - i); n += 2) {  // two inputs to a byte
          const std::uint8_t* row = w + (first_input + n) / 2 * out + j;
          for (std::size_t c = 0; c < columns; ++c) packed[c] |= static_cast<std::uint32_t>(row[c]) << (4 * n);
        }
      }
    }
  }
}

struct CodeTable {
#if TAILRACE_ISA_LEVEL >= 2
  F32 table = {-8, -7, -6, -5, -4, -3, -2, -1, 0, 1, 2, 3, 4, 5, 6, 7};
  TAILRACE_INLINE F32 operator()(I32 codes) const {
    return (F32)_mm512_permutexvar_ps((__m512i)codes, (__m512)table);  // looks at the low four bits only
  }
#else
  TAILRACE_INLINE F32 operator()(I32 codes) const { return __builtin_convertvector((codes & 15) - 8, F32); }
#endif
};

struct Int4Args {
  DenseArgs dense;
  Int4Layout layout;
};

template <std::size_t R, std::size_t V>
void int4_tile(const Int4Args& args, const std::uint32_t* packed, std::size_t row, std::size_t column) {
  const DenseArgs& a = args.dense;
  constexpr bool kScaleSums = R <= 2;
  const CodeTable table;
  const float* x = a.x + row * a.x_stride;
  F32 sums[R][V] = {};
  for (std::size_t g = 0; g < args.layout.groups(); ++g) {
    F32 scale[V];
    for (std::size_t v = 0; v < V; ++v) std::memcpy(&scale[v], packed + v * kLanes, sizeof(F32));
    packed += V * kLanes;
    F32 group_sums[R][V] = {};
    const std::size_t inputs = args.layout.inputs_of(g);
    const float* values = x + g * args.layout.group;
    for (std::size_t i = 0; i < inputs; i += 8, packed += V * kLanes) {
      I32 words[V];
      for (std::size_t v = 0; v < V; ++v) std::memcpy(&words[v], packed + v * kLanes, sizeof(I32));
      const std::size_t eight = least(8, inputs - i);
      for (std::size_t n = 0; n < eight; ++n) {
        for (std::size_t v = 0; v < V; ++v) {
          F32 weight = table(words[v]);
          words[v] >>= 4;
          if constexpr (!kScaleSums) weight *= scale[v];
          for (std::size_t r = 0; r < R; ++r) {
            F32& sum = kScaleSums ? group_sums[r][v] : sums[r][v];
            sum = fma(splat(values[r * a.x_stride + i + n]), weight, sum);
          }
        }
      }
    }
    if constexpr (kScaleSums)
      for (std::size_t r = 0; r < R; ++r)
        for (std::size_t v = 0; v < V; ++v) sums[r][v] = fma(group_sums[r][v], scale[v], sums[r][v]);
  }
  const std::size_t last = least(a.out - column, V * kLanes) - (V - 1) * kLanes;
  const F32 bound = splat(lower_bound_of(a.activation));
  float* y = a.y + row * a.y_stride + column;
  for (std::size_t v = 0; v < V; ++v) {
    const std::size_t n = v + 1 < V ? kLanes : last;
    const F32 bias = a.bias == nullptr ? splat(0) : load(a.bias + column + v * kLanes, n);
    for (std::size_t r = 0; r < R; ++r) store(y + r * a.y_stride + v * kLanes, max(bound, sums[r][v] + bias), n);
  }
}

template <std::size_t V, std::size_t R = kTileRows>
TAILRACE_INLINE void int4_tile_of(std::size_t rows, const Int4Args& a, const std::uint32_t* packed, std::size_t row,
                                  std::size_t column) {
  if (rows == R) return int4_tile<R, V>(a, packed, row, column);
  if constexpr (R > 1) int4_tile_of<V, R - 1>(rows, a, packed, row, column);
}

inline void int4_packed(const Int4Args& args) {
  const DenseArgs& a = args.dense;
  const auto* panel = static_cast<const std::uint32_t*>(a.weights);
  for (std::size_t column = 0; column < a.out; column += kPanel) {
    const std::size_t width = whole_lanes(least(a.out - column, kPanel));
    const std::size_t tiles = (a.rows + kTileRows - 1) / kTileRows;
    for (std::size_t t = 0, row = 0; t < tiles; ++t) {
      const std::size_t rows = (a.rows - row + tiles - t - 1) / (tiles - t);
      if (width == 3 * kLanes) int4_tile_of<3>(rows, args, panel, row, column);
      if (width == 2 * kLanes) int4_tile_of<2>(rows, args, panel, row, column);
      if (width == kLanes) int4_tile_of<1>(rows, args, panel, row, column);
      row += rows;
    }
    panel += args.layout.places() * width;
  }
  activate_rows(a.activation, a.y, a.rows, a.y_stride, a.out);
}

}  // namespace
}  // namespace tailrace::kernels::TAILRACE_ISA
