// cpu.hpp -- one layer y = act(x w + b), for each kind of weight.
//
// What      `LayerKernels`: the functions of one family of weights (mlp_float, mlp_int8, mlp_int4) at one level: how a weight is
//           packed, and the layer itself. ops/mlp_forward/network.hpp strings layers together.
// Why       A packed weight is laid out for the registers of one level: who packs keeps the table that it packed with.
// Threads   Any; writes `y` and `scratch` only.
// Source    In cpu/dense.hpp, int8.hpp, int4.hpp, where the kernels are.
// Checked   tests/cpp/kernels/test_mlp.cpp; tests/kernels/test_ops.py against reference.py.
#pragma once

#include <cstddef>
#include <cstdint>

#include "cpu/activation.hpp"
#include "cpu/isa.hpp"

namespace tailrace::kernels {

enum class WeightKind : std::uint8_t { float32, float16, bfloat16, int8, int4 };

struct LayerWeight {
  WeightKind kind;
  const void* values;  // [in, out] row-major; int4: [ceil(in / 2), out] bytes
  const float* scale;  // int8: [out]; int4: [ceil(in / group), out]
  std::size_t in;
  std::size_t out;
  std::size_t group;  // int4 only
  float input_scale = 0;  // int8 only: what a code of a row is worth; 0: as much as its largest magnitude asks for
};

struct LayerCall {
  const LayerWeight* weight;
  const std::byte* packed;  // by `pack` of the same table; null: the values as they lie, which floats can
  const float* bias;  // [out], or null
  const float* x;  // [rows, in]
  float* y;  // [rows, out], nothing of it in x
  std::size_t rows;
  Activation activation;
  std::byte* scratch;  // of `scratch_bytes`
  std::size_t behind = 0;  // bytes of values as they lie that follow, and are wanted next
};

struct LayerKernels {
  std::size_t (*packed_bytes)(const LayerWeight&);
  void (*pack)(const LayerWeight&, std::byte* packed);  // to an address that is a multiple of 64
  std::size_t (*scratch_bytes)(const LayerWeight&, std::size_t rows);
  void (*run)(const LayerCall&);
};

TAILRACE_KERNELS_TABLE(LayerKernels, mlp_float);
TAILRACE_KERNELS_TABLE(LayerKernels, mlp_int8);
TAILRACE_KERNELS_TABLE(LayerKernels, mlp_int4);

inline const LayerKernels& kernels_for(WeightKind kind) {
  if (kind == WeightKind::int8) return mlp_int8();
  if (kind == WeightKind::int4) return mlp_int4();
  return mlp_float();
}

// With so few rows a float weight is not worth packing for one call.
inline constexpr std::size_t kMostDirectRows = 24;

inline bool readable_as_it_lies(WeightKind kind) { return kind != WeightKind::int8 && kind != WeightKind::int4; }

}  // namespace tailrace::kernels
