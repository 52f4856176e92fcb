#include "loop_turn.hpp"

#include "core_section.hpp"

namespace tailrace::bindings {

thread_local LoopTurn loop_turn;

namespace {

PyObject* next_turn(PyObject*, PyObject*) { return loop_turn.next(), Py_NewRef(Py_None); }

PyMethodDef next_turn_method = {"next_turn", guarded<next_turn>, METH_NOARGS, nullptr};

}  // namespace

void LoopTurn::charge(std::int64_t began_ns, std::int64_t ended_ns, PyObject* loop) {
  static PyObject* const call_soon = PyUnicode_InternFromString("call_soon");
  static PyObject* const callback = PyCFunction_New(&next_turn_method, nullptr);
  steps_ns_ += ended_ns - began_ns;
  last_ns_ = ended_ns;
  if (steps_ns_ < kAskNs) return;
  if (asked_ns_ != 0) return;
  asked_ns_ = ended_ns;
  const Ref handle = Ref::steal(outside([&] { return PyObject_CallMethodOneArg(loop, call_soon, callback); }));
  if (handle) return;
  PyErr_Clear();  // the loop is closed: no turn of it will come
  next();
}

}  // namespace tailrace::bindings
