// GIL       Let go of when the layers take longer than 20 us, by their multiply-adds.
// Lifetime  The caller's arrays are borrowed for the call.
#include <string>

#include "cpu/released.hpp"
#include "ops/mlp_forward/layers.hpp"
#include "ops/mlp_forward_grouped/grouped.hpp"

namespace tailrace::kernels {
namespace {

// (kind, values [agents, in, out], None, 0, bias [agents, out] or None) for each layer.
std::vector<Layer> read_grouped(const py::list& given, std::size_t& agents) {
  std::vector<Layer> layers;
  for (const py::handle item : given) {
    must_fit(py::isinstance<py::tuple>(item));
    const auto parts = py::reinterpret_borrow<py::tuple>(item);
    must_fit(parts.size() == 5);
    const WeightKind kind = kind_of(parts[0].cast<int>());
    must_fit(readable_as_it_lies(kind));
    const Values values = values_of(kind, parts[1], 3);
    if (layers.empty()) agents = values.agents;
    must_fit(values.agents == agents && values.rows > 0 && values.columns > 0);
    must_fit(layers.empty() || layers.back().weight.out == values.rows);
    Layer layer{{kind, values.data, nullptr, values.rows, values.columns, 0}, &kernels_for(kind), nullptr, nullptr};
    if (!parts[4].is_none()) {
      const auto bias = read_array<const float>(parts[4], 2);
      must_fit(bias.extent(0) == agents && bias.extent(1) == values.columns);
      layer.bias = bias.data;
    }
    layers.push_back(layer);
  }
  must_fit(!layers.empty() && agents > 0);
  return layers;
}

void check_agents(const std::int32_t* agents, std::size_t rows, std::size_t count) {
  for (std::size_t i = 0; i < rows; ++i)
    if (static_cast<std::uint32_t>(agents[i]) >= count)
      throw py::index_error("mlp_forward_grouped: agents[" + std::to_string(i) + "] is " + std::to_string(agents[i]) +
                            "; there are weights of " + std::to_string(count) + " agents, so it must be 0 to " +
                            std::to_string(count - 1));
}

void grouped_call(py::handle x, py::list given, py::handle agents, int activation, py::handle out) {
  std::size_t count = 0;
  std::vector<Layer> layers = read_grouped(given, count);
  GroupedCall call{std::move(layers), nullptr, nullptr, nullptr, 0, activation_of(activation), count};
  const auto from = read_array<const float>(x, 2);
  const auto to = read_array<float>(out, 2);
  call.x = from.data;
  call.y = to.data;
  call.rows = from.extent(0);
  must_fit(call.rows > 0 && call.rows <= 0xFFFFFFFFU && from.extent(1) == call.in() && to.extent(0) == call.rows &&
           to.extent(1) == call.out());
  must_fit(!overlap(from.data, call.rows * call.in(), to.data, call.rows * call.out()));
  must_fit(!overlap(call.layers, count, to.data, call.rows * call.out()));
  if (agents.is_none()) {
    must_fit(call.rows == count);
  } else {
    const auto numbers = read_array<const std::int32_t>(agents, 1);
    must_fit(numbers.extent(0) == call.rows);
    check_agents(numbers.data, call.rows, count);
    call.agents = numbers.data;
  }
  Released free(estimated_ns(call.layers.data(), call.layers.size(), call.rows));
  run_grouped(call);
}

}  // namespace

void bind_mlp_forward_grouped(py::module_& m) {
  m.def("mlp_forward_grouped", &grouped_call, py::arg("x"), py::arg("layers"), py::arg("agents"), py::arg("activation"),
        py::arg("out"), py::pos_only(), "All layers, each row by its agent's weights; arguments as checked by the op.");
}

}  // namespace tailrace::kernels
