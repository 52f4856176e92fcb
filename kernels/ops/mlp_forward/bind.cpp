// GIL       Let go of when the layers take longer than 20 us, by their multiply-adds.
// Lifetime  Arrays are borrowed for the call; a Network holds copies of all that it needs.
#include <pybind11/stl.h>

#include "cpu/released.hpp"
#include "ops/mlp_forward/bound.hpp"
#include "ops/mlp_forward/layers.hpp"

namespace tailrace::kernels {
namespace {

void mlp_forward_call(py::handle x, py::handle given, int activation, py::handle out) {
  std::vector<Layer> layers = read_layers(given);
  const auto from = read_array<const float>(x, 2);
  const auto to = read_array<float>(out, 2);
  const std::size_t rows = from.extent(0), in = layers.front().weight.in, last = layers.back().weight.out;
  must_fit(rows > 0 && from.extent(1) == in && to.extent(0) == rows && to.extent(1) == last);
  must_fit(!overlap(from.data, rows * in, to.data, rows * last) && !overlap(layers, 1, to.data, rows * last));
  bool pack = rows > kMostDirectRows;
  for (const Layer& layer : layers) pack |= !readable_as_it_lies(layer.weight.kind);
  Released free(estimated_ns(layers.data(), layers.size(), rows));
  if (pack) packed_for_call(layers.data(), layers.size());
  run_layers(layers.data(), layers.size(), from.data, to.data, rows, activation_of(activation));
}

}  // namespace

void bind_mlp_forward(py::module_& m) {
  m.def("mlp_forward", &mlp_forward_call, py::arg("x"), py::arg("layers"), py::arg("activation"), py::arg("out"),
        py::pos_only(), "All layers; arguments as checked by the op.");
  bind_network(m);
}

}  // namespace tailrace::kernels
