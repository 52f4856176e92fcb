// core_section.cpp -- one critical section of CPython's, on an object that nobody else has.
//
// GIL       There is none where this file is more than empty.
// Lifetime  The object is never freed: threads may still be inside when the module goes.
#include "bindings.hpp"
#include "pybind.hpp"

#ifdef Py_GIL_DISABLED

namespace tailrace::bindings {

namespace {

PyObject* core = nullptr;  // its lock is the section's
thread_local CoreStay* innermost = nullptr;
thread_local CoreStay base_stay;  // of a thread of our own

// Is nothing on top of `stay`, and its lock held? Anything else that CPython has locked since may have taken it from us.
bool is_inside(const CoreStay& stay) noexcept {
  return PyThreadState_GetUnchecked()->critical_section == reinterpret_cast<std::uintptr_t>(&stay.section);
}

}  // namespace

void CoreStay::begin() {
  outer = innermost;
  if ((entered = outer == nullptr || !is_inside(*outer))) {
    PyCriticalSection_Begin(&section, core);
    innermost = this;
  }
}

void CoreStay::end() {
  if (!entered) return;
  innermost = outer;
  PyCriticalSection_End(&section);
}

CoreStay* step_outside() {
  CoreStay* const stay = std::exchange(innermost, nullptr);
  if (stay != nullptr) PyCriticalSection_End(&stay->section);
  return stay;
}

void step_inside(CoreStay* stay) {
  if (stay == nullptr) return;
  PyCriticalSection_Begin(&stay->section, core);
  innermost = stay;
}

void enter_core() { base_stay.begin(); }
void leave_core() { base_stay.end(); }

void make_core_section() {
  core = PyObject_CallNoArgs(reinterpret_cast<PyObject*>(&PyBaseObject_Type));
  if (core == nullptr) throw py::error_already_set();
}

}  // namespace tailrace::bindings

#endif
