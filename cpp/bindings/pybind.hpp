// pybind.hpp -- pybind11, for the files that use it.
//
// What      Its one header, under the name `py`.
// Why       It is most of the time that a small file takes to compile; the entry points are written by hand anyway.
// Threads   Its objects need the GIL, to be destroyed too.
#pragma once

#include <pybind11/pybind11.h>

namespace py = pybind11;
