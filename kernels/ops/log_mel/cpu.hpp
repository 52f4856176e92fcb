// cpu.hpp -- what the CPU kernel of log_mel takes and does: one signal after the other, sixteen (eight, four) frames at a time.
//
// What      `LogMelTask`: one call; `LogMelKernels`: the function, read through `log_mel()`.
// Why       A lane of a register is a frame: the transform of each is the same chain of additions, so none of it needs a shuffle,
//           and the permuted order in which it leaves its results costs nothing, since a row is a whole cache line.
// Threads   The tables are read only; each call brings its own scratch.
// Checked   tests/cpp/kernels/test_log_mel.cpp (bounds, every level), tests/kernels/test_log_mel.py (values).
#pragma once

#include <cstddef>
#include <cstdint>

#include "cpu/isa.hpp"

namespace tailrace::kernels {

inline constexpr std::size_t kMostLanes = 16;
inline constexpr std::size_t kMostPasses = 20;

struct LogMelPass {
  std::uint32_t radix = 0;
  std::uint32_t length = 0;  // of the transforms that this pass splits
  const float* twiddles = nullptr;  // [length / radix, radix - 1, 2]
};

struct LogMelTask {
  const float* x = nullptr;  // [count, samples]
  float* out = nullptr;  // [count, mels, frames]
  float* scratch = nullptr;  // LogMelPlan::scratch_floats(), aligned to 64
  std::size_t count = 0, samples = 0, frames = 0;
  std::size_t n_fft = 0, hop = 0, mels = 0;
  std::size_t before = 0;  // samples that the first frame begins before the signal does
  bool reflect = false;  // what stands there: the signal mirrored at its end, or zeros
  const float* window = nullptr;  // [n_fft, rounded up to 16, the rest zeros]
  std::size_t passes = 0;
  LogMelPass pass[kMostPasses];
  const std::uint32_t* place = nullptr;  // [n_fft / 2]: where the transform leaves frequency k
  const float* split = nullptr;  // [n_fft / 4 + 1, 2]: cos and sin of 2 pi k / n_fft
  const std::uint32_t* bin_row = nullptr;  // [n_fft / 2 + 1]: the row that holds the power of a bin
  // The filters, sparse: filter m has bins first[m] up to first[m] + (begin[m + 1] - begin[m]).
  const std::uint32_t* filter_first = nullptr;  // [mels]
  const std::uint32_t* filter_begin = nullptr;  // [mels + 1]
  const float* filter_weights = nullptr;
  float floor = 0;
};

struct LogMelKernels {
  void (*run)(const LogMelTask& task);
};

TAILRACE_KERNELS_TABLE(LogMelKernels, log_mel);

}  // namespace tailrace::kernels
