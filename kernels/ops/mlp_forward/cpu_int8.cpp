#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>

#include "cpu/half.hpp"
#include "ops/mlp_forward/cpu.hpp"

#include "cpu/target.hpp"

#include "ops/mlp_forward/int8.hpp"

namespace tailrace::kernels::TAILRACE_ISA {
namespace {

std::size_t packed_bytes(const LayerWeight& w) { return Int8Layout(w.in, w.out).bytes(); }

void pack(const LayerWeight& w, std::byte* packed) {
  pack_int8(static_cast<const std::int8_t*>(w.values), w.scale, w.in, w.out, packed);
}

std::size_t scales_bytes(std::size_t rows) { return (rows * sizeof(float) + 63) / 64 * 64; }

std::size_t scratch_bytes(const LayerWeight& w, std::size_t rows) {
  return scales_bytes(rows) + rows * whole_fours(w.in) * sizeof(Code);
}

void run(const LayerCall& c) {
  const LayerWeight& w = *c.weight;
  const std::size_t in4 = whole_fours(w.in);
  auto* scales = reinterpret_cast<float*>(c.scratch);
  auto* codes = reinterpret_cast<Code*>(c.scratch + scales_bytes(c.rows));
  for (std::size_t r = 0; r < c.rows; ++r)
    quantise_row(c.x + r * w.in, w.in, w.input_scale, codes + r * in4, scales + r);
  int8_packed({codes, scales, c.rows, in4, c.packed, w.in, w.out, c.bias, c.y, w.out, c.activation});
}

}  // namespace

const LayerKernels mlp_int8{&packed_bytes, &pack, &scratch_bytes, &run};

}  // namespace tailrace::kernels::TAILRACE_ISA

#include "cpu/end_target.hpp"
