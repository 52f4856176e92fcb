// bound.hpp -- the Python type around a network that is packed.
//
// What      `_cpu.Network(layers, activation)`: called with (x, *, out=None), it computes; what does not fit goes to the method
//           `_call` of the subclass, which is Python and explains.
// Why       A policy of one row takes 5 us: a call by vectorcall with checks on the spot costs 0.2 us, one through Python
//           functions ten times as much.
// Threads   With the GIL held until the layers run.
// Checked   tests/kernels/test_policy.py.
#pragma once

#include <pybind11/pybind11.h>

namespace tailrace::kernels {

void bind_network(pybind11::module_& m);

}  // namespace tailrace::kernels
