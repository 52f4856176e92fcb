// module.cpp -- the module `tailrace.kernels._cpu`: the ops of ops.inc, the choice of the instruction set, the ceilings.
#include <pybind11/pybind11.h>

#include "cpu/ceilings.hpp"
#include "cpu/isa.hpp"
#include "cpu/native_slot.hpp"

namespace py = pybind11;

namespace tailrace::kernels {
#define TAILRACE_OP(name) void bind_##name(py::module_& m);
#include "cpu/ops.inc"
#undef TAILRACE_OP
}  // namespace tailrace::kernels

PYBIND11_MODULE(_cpu, m, py::multiple_interpreters::not_supported()) {
  using namespace tailrace::kernels;
  m.doc() = "The compiled CPU kernels of tailrace.";
#define TAILRACE_OP(name) bind_##name(m);
#include "cpu/ops.inc"
#undef TAILRACE_OP
  bind_native_slot(m);
  m.def("best_isa", [] { return kIsaNames[static_cast<int>(best_isa())]; }, "The best level of this machine.");
  m.def("chosen_isa", [] { return kIsaNames[static_cast<int>(chosen_isa())]; }, "The level that calls use.");
  m.def(
      "force_isa", [](const std::string& name) { force_isa(parse_isa(name)); }, py::arg("name"),
      "Use this level from now on; for tests, and only while no kernel runs.");
  m.def(
      "measure_flops", [] { return ceilings().flops_per_s(); },
      "float32 multiply-adds of one thread, in FLOP/s (two per multiply-add), as measured now.");
  m.def(
      "measure_bandwidth",
      [](std::size_t bytes) {
        if (bytes > std::size_t{1} << 30) throw py::value_error("measure_bandwidth reads a block of at most 1 GiB");
        return ceilings().bytes_per_s(bytes);
      },
      py::arg("bytes"), "What one thread reads from a block of this size, in bytes/s, as measured now.");
}
