// bindings.hpp -- what the files of this folder share. Python.h comes first, as CPython asks.
//
// What      Owned references, the hooks that Python installs, and who registers which types.
// Why       Hot entry points are hand-written vectorcalls (9 ns); pybind11 (40 ns) does the module and the dictionaries.
// Threads   Everything here needs the GIL unless it says otherwise. No lock of ours is ever held while taking the GIL.
//           Where CPython has none, core_section.hpp stands for it.
#pragma once

#include <Python.h>

#include <cstdint>
#include <utility>

#include "core_section.hpp"
#include "tailrace/sched/item.hpp"

namespace tailrace::bindings {

// A thread that asks for the GIL while the interpreter ends is unwound, without the GIL, through whatever it was in.
inline bool interpreter_ends() noexcept {
#if PY_VERSION_HEX >= 0x030D0000
  return Py_IsFinalizing() != 0;
#else
  return _Py_IsFinalizing() != 0;
#endif
}

// An owned reference. Its destructor needs the GIL, leaks while the interpreter ends, and may itself be unwound
// (a finalizer written in Python may let go of the GIL), so it must not be noexcept.
class Ref {
 public:
  Ref() = default;
  static Ref steal(PyObject* object) { return Ref{object}; }
  static Ref borrow(PyObject* object) { return Ref{Py_XNewRef(object)}; }
  Ref(Ref&& other) noexcept : object_{std::exchange(other.object_, nullptr)} {}
  Ref& operator=(Ref&& other) noexcept {
    PyObject* old = std::exchange(object_, std::exchange(other.object_, nullptr));
    Py_XDECREF(old);
    return *this;
  }
  ~Ref() noexcept(false) {
    if (object_ != nullptr && !interpreter_ends()) Py_DECREF(object_);
  }

  PyObject* get() const noexcept { return object_; }
  PyObject* release() noexcept { return std::exchange(object_, nullptr); }
  void clear() noexcept { Py_XDECREF(std::exchange(object_, nullptr)); }
  explicit operator bool() const noexcept { return object_ != nullptr; }

 private:
  explicit Ref(PyObject* object) noexcept : object_{object} {}
  PyObject* object_ = nullptr;
};

// Python functions that the core calls back; installed once by tailrace.runtime.
struct Hooks {
  PyObject* make_error = nullptr;
  PyObject* launch_async = nullptr;
  PyObject* open_wait = nullptr;
  PyObject* make_record = nullptr;
  PyObject* log_failure = nullptr;
  PyObject* name_thread = nullptr;
  PyObject* forget_thread = nullptr;
};
extern Hooks hooks;

// Raises what make_error(kind, detail) returns. `detail` is stolen and may be null when an error is already set.
void raise_hooked(const char* kind, PyObject* detail);

// The exception that is set, normalised, with its traceback; clears it.
PyObject* take_raised();
// Sets `error` as the raised exception (a new reference is taken).
void raise(PyObject* error);

// A tr.Priority as the core has it; false with an exception set for anything else.
bool read_priority(PyObject* given, sched::Priority* priority);

// Adds a type made from `spec` to the module and returns it (borrowed for ever).
PyTypeObject* add_type(PyObject* module, PyType_Spec& spec);

void bind_step(PyObject* module);
void bind_plan(PyObject* module);
void bind_run(PyObject* module);
void bind_token(PyObject* module);
void bind_future(PyObject* module);
void bind_completions(PyObject* module);
void bind_awaiting(PyObject* module);
void bind_runtime(PyObject* module);
void bind_executor(PyObject* module);
void bind_native(PyObject* module);
void bind_activity(PyObject* module);
void bind_shared(PyObject* module);
void bind_pool(PyObject* module);

}  // namespace tailrace::bindings
