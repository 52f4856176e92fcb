// layers.hpp -- from Python's weights and biases to layers.
//
// What      `read_layers`: (kind, values, scale or None, what the kind has besides, bias or None) for each layer, as checked by
//           the op.
// Why       The face has looked at the weights' shapes; here a wrong array only must not get through.
// Threads   With the GIL held. The layers point into the arrays.
// Checked   tests/kernels/test_mlp_forward.py.
#pragma once

#include <cstddef>
#include <limits>
#include <string>
#include <vector>

#include "cpu/array.hpp"
#include "ops/mlp_forward/network.hpp"

namespace tailrace::kernels {

struct Values {
  const void* data;
  std::size_t agents, rows, columns;
};

// rank 2: [rows, columns]; rank 3: [agents, rows, columns].
template <class T>
Values values_of(py::handle array, int rank) {
  const auto view = read_array<const T>(array, rank);
  return {view.data, rank == 3 ? view.extent(0) : 1, view.extent(rank - 2), view.extent(rank - 1)};
}

inline Values values_of(WeightKind kind, py::handle array, int rank) {
  switch (kind) {
    case WeightKind::float32:
      return values_of<float>(array, rank);
    case WeightKind::float16:
      return values_of<Half>(array, rank);
    case WeightKind::bfloat16:
      return values_of<BFloat16>(array, rank);
    case WeightKind::int8:
      return values_of<std::int8_t>(array, rank);
    default:
      return values_of<std::uint8_t>(array, rank);
  }
}

inline void must_fit(bool fits) {
  if (!fits) throw py::value_error("the layers do not fit together; the op checks that before");
}

inline WeightKind kind_of(int kind) {
  must_fit(kind >= 0 && kind <= static_cast<int>(WeightKind::int4));
  return static_cast<WeightKind>(kind);
}

inline Activation activation_of(int activation) {
  must_fit(activation >= 0 && activation <= static_cast<int>(Activation::silu));
  return static_cast<Activation>(activation);
}

inline std::vector<Layer> read_layers(const py::handle& given) {
  const auto list = py::reinterpret_borrow<py::list>(given);
  std::vector<Layer> layers;
  layers.reserve(list.size());
  for (const py::handle item : list) {
    const auto parts = py::reinterpret_borrow<py::tuple>(item);
    must_fit(py::isinstance<py::tuple>(item) && parts.size() == 5);
    const WeightKind kind = kind_of(parts[0].cast<int>());
    const Values values = values_of(kind, parts[1], 2);
    Layer layer{{kind, values.data, nullptr, values.rows, values.columns, 0}, &kernels_for(kind), nullptr, nullptr};
    LayerWeight& w = layer.weight;
    if (kind == WeightKind::int8) {
      const auto scale = read_array<const float>(parts[2], 1);
      must_fit(scale.extent(0) == w.out);
      w.scale = scale.data;
      w.input_scale = parts[3].cast<float>();
      must_fit(w.input_scale >= 0.0f && w.input_scale <= std::numeric_limits<float>::max());
    }
    if (kind == WeightKind::int4) {
      const auto scale = read_array<const float>(parts[2], 2);
      const auto [group, in] = parts[3].cast<std::pair<std::size_t, std::size_t>>();
      must_fit(group >= 2 && group % 2 == 0 && in > 0 && (in + 1) / 2 == values.rows);
      must_fit(scale.extent(0) == (in + group - 1) / group && scale.extent(1) == w.out);
      w.scale = scale.data;
      w.group = group;
      w.in = in;
    }
    must_fit(w.in > 0 && w.out > 0 && (layers.empty() || layers.back().weight.out == w.in));
    if (!parts[4].is_none()) {
      const auto bias = read_array<const float>(parts[4], 1);
      must_fit(bias.extent(0) == w.out);
      layer.bias = bias.data;
    }
    layers.push_back(layer);
  }
  must_fit(!layers.empty());
  return layers;
}

inline bool share_bytes(const void* x, std::size_t xs, const void* y, std::size_t ys) {
  const auto a = reinterpret_cast<std::uintptr_t>(x), b = reinterpret_cast<std::uintptr_t>(y);
  return a < b + ys && b < a + xs;
}

// Whether the two share a byte: a layer reads x after it has begun to write y.
inline bool overlap(const float* x, std::size_t xs, const float* y, std::size_t ys) {
  return share_bytes(x, xs * sizeof(float), y, ys * sizeof(float));
}

// Whether y shares a byte with what the layers of so many agents are read from.
inline bool overlap(const std::vector<Layer>& layers, std::size_t agents, const float* y, std::size_t ys) {
  bool shared = false;
  for (const Layer& layer : layers) {
    const LayerWeight& w = layer.weight;
    std::size_t values = w.in * w.out, scales = w.out;
    if (w.kind == WeightKind::float32) values *= sizeof(float);
    if (w.kind == WeightKind::float16 || w.kind == WeightKind::bfloat16) values *= 2;
    if (w.kind == WeightKind::int4) {
      values = (w.in + 1) / 2 * w.out;
      scales *= (w.in + w.group - 1) / w.group;
    }
    const std::size_t bytes = ys * sizeof(float);
    shared |= share_bytes(w.values, agents * values, y, bytes);
    shared |= w.scale != nullptr && share_bytes(w.scale, agents * scales * sizeof(float), y, bytes);
    shared |= layer.bias != nullptr && share_bytes(layer.bias, agents * w.out * sizeof(float), y, bytes);
  }
  return shared;
}

}  // namespace tailrace::kernels
