// cpu.hpp -- one token per row of logits, drawn from those that top-k, top-p and min-p keep, without sorting.
//
// What      `SampleKernels`: `sample` draws, `kept` marks the tokens that can be drawn; both say which row is invalid. `weigh`
//           gives the weights of one valid row, which every backend must have to the bit.
// Why       Sorting 32,000 logits costs twenty times what reading them does, to find one boundary.
// Threads   Any; writes `out` only, beside its thread's scratch.
// Source    Holtzman et al., "The Curious Case of Neural Text Degeneration", 2020 (top-p); Fan et al., 2018 (top-k);
//           Nguyen et al., "Turning Up the Heat: Min-p Sampling", 2024; docs/decisions/0029.
// Checked   tests/kernels/test_sample_tokens.py; tests/cpp/kernels/test_sample_tokens.cpp for what lies behind the ends.
#pragma once

#include <cstddef>
#include <cstdint>

#include "cpu/isa.hpp"

namespace tailrace::kernels {

inline constexpr std::size_t kMostTokens = std::size_t{1} << 22;  // of a row: their weights then sum below 2^63

// One value for all rows, or one for each.
template <class T>
struct PerRow {
  const T* values;
  std::size_t step;  // 0 or 1

  T operator[](std::size_t row) const { return values[row * step]; }
};

struct SampleArgs {
  const float* logits;  // [rows, tokens]
  std::size_t rows;
  std::size_t tokens;  // 1..kMostTokens
  PerRow<double> temperature;  // 0: the likeliest token
  PerRow<std::int64_t> top_k;  // 0: all
  PerRow<double> top_p;  // 0 < p; 1 and above: all
  PerRow<double> min_p;  // 0: all
  PerRow<std::uint64_t> seed;
  PerRow<std::uint64_t> step;
};

enum class BadLogits : int { none, nan, infinite, nothing };

struct SampleResult {
  BadLogits bad = BadLogits::none;
  std::size_t row = 0;  // of what is bad
};

struct SampleKernels {
  SampleResult (*sample)(const SampleArgs&, std::int32_t* out);  // [rows]
  SampleResult (*kept)(const SampleArgs&, bool* out);  // [rows, tokens]
  void (*weigh)(const float* logits, std::size_t tokens, double temperature, std::int64_t* out);
};

TAILRACE_KERNELS_TABLE(SampleKernels, sample_tokens);

}  // namespace tailrace::kernels
