#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>

#include "cpu/half.hpp"
#include "ops/mlp_forward/cpu.hpp"

#include "cpu/target.hpp"

#include "cpu/dense.hpp"

namespace tailrace::kernels::TAILRACE_ISA {
namespace {

std::size_t element_bytes(const LayerWeight& w) { return w.kind == WeightKind::float32 ? 4 : 2; }

std::size_t packed_bytes(const LayerWeight& w) { return packed_elements(w.in, w.out) * element_bytes(w); }

template <class T>
void pack_as(const LayerWeight& w, std::byte* packed) {
  pack_dense(static_cast<const T*>(w.values), w.in, w.out, reinterpret_cast<T*>(packed));
}

void pack(const LayerWeight& w, std::byte* packed) {
  if (w.kind == WeightKind::float32) return pack_as<float>(w, packed);
  pack_as<Half>(w, packed);  // moved, not converted: bfloat16 as well
}

std::size_t scratch_bytes(const LayerWeight&, std::size_t) { return 0; }

template <class T>
void run_as(const LayerCall& c) {
  const LayerWeight& w = *c.weight;
  const void* weights = c.packed != nullptr ? c.packed : w.values;
  const DenseArgs args{c.x, c.rows, w.in, weights, w.in, w.out, c.bias, c.y, w.out, c.activation, c.behind};
  if (c.packed != nullptr)
    dense_packed<T>(args);
  else
    dense_direct<T>(args);
}

void run(const LayerCall& c) {
  if (c.weight->kind == WeightKind::float32) return run_as<float>(c);
  if (c.weight->kind == WeightKind::float16) return run_as<Half>(c);
  run_as<BFloat16>(c);
}

}  // namespace

const LayerKernels mlp_float{&packed_bytes, &pack, &scratch_bytes, &run};

}  // namespace tailrace::kernels::TAILRACE_ISA

#include "cpu/end_target.hpp"
