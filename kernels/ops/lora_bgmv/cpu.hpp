// cpu.hpp -- each row through the low-rank adapter that it names: y (+)= scale * (x a[i]) b[i].
//
// What      `LoraKernels`: one function per storage type of the adapters; `LoraArgs::order` says which rows go together.
// Why       Rows of one adapter are one product: its weights are read once for eight of them, where a product per row would be
//           bound by memory for all.
// Threads   Any; writes `y` and its scratch only.
// Source    Hu et al. 2021, "LoRA: Low-rank adaptation of large language models", section 4.1; segments of rows: Chen et al. 2023,
//           "Punica: Multi-tenant LoRA serving", section 4.
// Checked   tests/kernels/test_ops.py against reference.py; tests/cpp/kernels/test_lora_bgmv.cpp for what lies behind the ends.
#pragma once

#include <cstddef>
#include <cstdint>

#include "cpu/half.hpp"
#include "cpu/isa.hpp"

namespace tailrace::kernels {

inline constexpr std::size_t kMostLoraRows = 8;  // of one adapter at a time

template <class T>
struct LoraArgs {
  const float* x;  // [rows, hidden]
  const T* a;  // [adapters, hidden, rank]
  const T* b;  // [adapters, rank, out]
  float* y;  // [rows, out]
  const std::uint32_t* order;  // [rows]: those without an adapter, then adapter after adapter
  const std::uint32_t* offsets;  // [adapters + 2]: segment s + 1 is adapter s, segment 0 has none
  float* low;  // scratch, [kMostLoraRows, rank]
  std::size_t adapters;
  std::size_t hidden;
  std::size_t rank;
  std::size_t out;
  float scale;
  bool accumulate;
};

struct LoraKernels {
  void (*f32)(const LoraArgs<float>&);
  void (*f16)(const LoraArgs<Half>&);
};

TAILRACE_KERNELS_TABLE(LoraKernels, lora_bgmv);

}  // namespace tailrace::kernels
