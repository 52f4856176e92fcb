// native_slot.hpp -- a bound op as a C function `int64_t (void* record)`, which a worker runs without Python.
//
// What      `Bound`: what an op that is ready for calls implements; `bound_capsule` hands it to Python; `native_slot` gives it one
//           of 256 C functions and a capsule that keeps the op alive.
// Why       A native step is a bare function without a place for its op. Each slot is a function of its own, made by the compiler,
//           that knows its op: no code is generated at run time, no address travels in the record.
// Threads   Slots are taken and given back under the GIL. A step runs on any thread; its capsule lives as long as the step does,
//           and a run holds its steps, so the op of a slot changes only when nobody can call it.
// Source    The closure problem of C callbacks; tr.native_step (docs/native_steps.md).
// Checked   tests/kernels/test_native.py.
#pragma once

#include <pybind11/pybind11.h>

#include <cstddef>
#include <memory>

namespace tailrace::kernels {

namespace py = pybind11;

inline constexpr std::size_t kNativeSlots = 256;
inline constexpr std::size_t kMostFields = 8;

struct Bound {
  Bound() = default;
  Bound(const Bound&) = delete;
  Bound& operator=(const Bound&) = delete;
  virtual ~Bound() = default;

  // The fields of one record, in the order of the op's payload: inputs, then outputs. False, or an exception (scratch that
  // cannot be had): the step fails.
  virtual bool run(std::byte* const* fields, std::size_t batch) const = 0;
};

// A capsule around a bound op that shares its ownership: `_bound()` of the Python object returns it.
py::capsule bound_capsule(std::shared_ptr<const Bound> bound);

void bind_native_slot(py::module_& m);

}  // namespace tailrace::kernels
