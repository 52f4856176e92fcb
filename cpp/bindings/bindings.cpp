#include "bindings.hpp"

#include "pybind.hpp"

namespace tailrace::bindings {

Hooks hooks;

void raise_hooked(const char* kind, PyObject* detail) {
  const Ref owned = Ref::steal(detail);
  if (!owned) return;
  if (hooks.make_error == nullptr) {
    PyErr_Format(PyExc_RuntimeError, "tailrace: %s (%R)", kind, detail);
    return;
  }
  const Ref error = Ref::steal(PyObject_CallFunction(hooks.make_error, "sO", kind, detail));
  if (error) raise(error.get());
}

PyObject* take_raised() {
#if PY_VERSION_HEX >= 0x030C0000
  return PyErr_GetRaisedException();
#else
  PyObject* type = nullptr;
  PyObject* value = nullptr;
  PyObject* traceback = nullptr;
  PyErr_Fetch(&type, &value, &traceback);
  if (type == nullptr) return nullptr;
  PyErr_NormalizeException(&type, &value, &traceback);
  if (traceback != nullptr) PyException_SetTraceback(value, traceback);
  Py_XDECREF(type);
  Py_XDECREF(traceback);
  return value;
#endif
}

void raise(PyObject* error) { PyErr_SetObject(reinterpret_cast<PyObject*>(Py_TYPE(error)), error); }

bool read_priority(PyObject* given, sched::Priority* priority) {
  const Ref module = Ref::steal(PyImport_ImportModule("tailrace.priority"));
  const Ref type = Ref::steal(module ? PyObject_GetAttrString(module.get(), "Priority") : nullptr);
  const int is_one = type ? PyObject_IsInstance(given, type.get()) : -1;
  if (is_one < 0) return false;
  if (is_one == 0) {
    PyErr_Format(PyExc_TypeError, "priority must be a tr.Priority such as tr.Priority.HIGH, got %R", given);
    return false;
  }
  *priority = static_cast<sched::Priority>(PyLong_AsLong(given));
  return true;
}

PyTypeObject* add_type(PyObject* module, PyType_Spec& spec) {
  PyObject* type = PyType_FromModuleAndSpec(module, &spec, nullptr);
  if (type == nullptr || PyModule_AddType(module, reinterpret_cast<PyTypeObject*>(type)) != 0) {
    throw py::error_already_set();
  }
  return reinterpret_cast<PyTypeObject*>(type);
}

}  // namespace tailrace::bindings
