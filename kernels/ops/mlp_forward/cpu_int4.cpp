#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>

#include "cpu/half.hpp"
#include "ops/mlp_forward/cpu.hpp"

#include "cpu/target.hpp"

#include "ops/mlp_forward/int4.hpp"

namespace tailrace::kernels::TAILRACE_ISA {
namespace {

std::size_t packed_bytes(const LayerWeight& w) { return Int4Layout{w.in, w.group}.places() * whole_lanes(w.out) * 4; }

void pack(const LayerWeight& w, std::byte* packed) {
  pack_int4(static_cast<const std::uint8_t*>(w.values), w.scale, {w.in, w.group}, w.out,
            reinterpret_cast<std::uint32_t*>(packed));
}

std::size_t scratch_bytes(const LayerWeight&, std::size_t) { return 0; }

void run(const LayerCall& c) {
  const LayerWeight& w = *c.weight;
  const DenseArgs dense{c.x, c.rows, w.in, c.packed, w.in, w.out, c.bias, c.y, w.out, c.activation};
  int4_packed({dense, {w.in, w.group}});
}

}  // namespace

const LayerKernels mlp_int4{&packed_bytes, &pack, &scratch_bytes, &run};

}  // namespace tailrace::kernels::TAILRACE_ISA

#include "cpu/end_target.hpp"
