// bind_free_signal.cpp -- `_core.FreeSignal`: what an event loop watches while its tasks wait for memory.
//
// GIL       Held.
// Lifetime  The object owns the signal, which keeps the pool's state.
#include <new>
#include <system_error>

#include "free_signal.hpp"
#include "pool_methods.hpp"

namespace tailrace::bindings {

namespace {

struct SignalObject {
  PyObject_HEAD
  std::unique_ptr<FreeSignal> signal;
};

std::unique_ptr<FreeSignal>& signal_of(PyObject* object) { return reinterpret_cast<SignalObject*>(object)->signal; }

PyObject* signal_new(PyTypeObject* type, PyObject* args, PyObject*) {
  PyObject* pool = nullptr;
  if (!PyArg_ParseTuple(args, "O!:FreeSignal", pool_type, &pool)) return nullptr;
  PyObject* const object = type->tp_alloc(type, 0);
  if (object == nullptr) return nullptr;
  new (&signal_of(object)) std::unique_ptr<FreeSignal>;
  try {
    signal_of(object) = std::make_unique<FreeSignal>(reinterpret_cast<PoolObject*>(pool)->state);
  } catch (const std::system_error& error) {
    Py_DECREF(object);
    errno = error.code().value();
    return PyErr_SetFromErrno(PyExc_OSError);
  }
  return object;
}

void signal_dealloc(PyObject* object) {
  PyTypeObject* const type = Py_TYPE(object);
  signal_of(object).~unique_ptr();
  type->tp_free(object);
  Py_DECREF(type);
}

PyObject* signal_fileno(PyObject* object, PyObject*) {
  return PyLong_FromLong(signal_of(object) ? signal_of(object)->fd() : -1);
}

PyObject* signal_arm(PyObject* object, PyObject*) {
  if (signal_of(object)) signal_of(object)->arm();
  Py_RETURN_NONE;
}

PyObject* signal_drain(PyObject* object, PyObject*) {
  if (signal_of(object)) signal_of(object)->drain();
  Py_RETURN_NONE;
}

PyObject* signal_close(PyObject* object, PyObject*) {
  signal_of(object).reset();
  Py_RETURN_NONE;
}

PyMethodDef signal_methods[] = {
    {"fileno", guarded<signal_fileno>, METH_NOARGS, "The eventfd to watch; -1 when closed."},
    {"arm", guarded<signal_arm>, METH_NOARGS, "Before a try: have the next free write to the eventfd."},
    {"drain", guarded<signal_drain>, METH_NOARGS, "Read the eventfd."},
    {"close", guarded<signal_close>, METH_NOARGS, "Listen no more, and close the eventfd."},
    {nullptr, nullptr, 0, nullptr},
};
PyType_Slot signal_slots[] = {
    {Py_tp_new, reinterpret_cast<void*>(guarded<signal_new>)},
    {Py_tp_dealloc, reinterpret_cast<void*>(guarded_dealloc<signal_dealloc>)},
    {Py_tp_methods, signal_methods},
    {Py_tp_doc, const_cast<char*>("Tells an event loop that memory of a pool was freed.")},
    {0, nullptr},
};
PyType_Spec signal_spec = {"tailrace._core.FreeSignal", sizeof(SignalObject), 0,
                           Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE, signal_slots};

}  // namespace

void bind_free_signal(PyObject* module) { add_type(module, signal_spec); }

}  // namespace tailrace::bindings
