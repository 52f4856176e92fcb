// GIL       All of it. The kept references are set to null before they are dropped, as a finalizer may come back here.
// Lifetime  What is kept here goes with the last task that has captured it: no variable's value outlives its tasks.
#include "context.hpp"

#include "pybind.hpp"

namespace tailrace::bindings {

namespace {

// The front of CPython's own struct, the same from 3.7 to 3.14: the variables are one immutable tree, replaced by every
// change, so two contexts with the same tree are equal. Proved at load; where it is not so, every call makes a copy.
struct ContextFront {
  PyObject_HEAD
  PyObject* previous;
  PyObject* variables;
};

bool comparable = false;
PyObject* kept = nullptr;   // what was captured last, while a task has it
PyObject* spare = nullptr;  // an unchanged copy of it, which no body is in

PyObject* variables_of(PyObject* context) { return reinterpret_cast<ContextFront*>(context)->variables; }

// Only we and at most one other have it.
bool owned_alone(PyObject* object, Py_ssize_t by_us) { return Py_REFCNT(object) == by_us; }

void forget_kept() {
  PyObject* const old_kept = std::exchange(kept, nullptr);
  PyObject* const old_spare = std::exchange(spare, nullptr);
  Py_XDECREF(old_kept);
  Py_XDECREF(old_spare);
}

}  // namespace

PyObject* capture_context() {
  if (!comparable) return PyContext_CopyCurrent();
  PyObject* const current = PyThreadState_Get()->context;
  if (current != nullptr && kept != nullptr && variables_of(current) == variables_of(kept)) return Py_NewRef(kept);
  PyObject* const captured = PyContext_CopyCurrent();
  if (captured == nullptr) return nullptr;
  forget_kept();
  PyObject* const between = std::exchange(kept, Py_NewRef(captured));  // a finalizer may have captured too
  Py_XDECREF(between);
  return captured;
}

void drop_context(PyObject* captured) {
  if (captured == kept && owned_alone(captured, 2)) forget_kept();
  Py_DECREF(captured);
}

bool OwnContext::enter(PyObject* captured, bool last) {
  captured_ = captured;
  if (last && captured == kept && owned_alone(captured, 2)) forget_kept();
  if (last && owned_alone(captured, 1)) {
    own_ = Py_NewRef(captured);
  } else if (captured == kept && spare != nullptr) {
    own_ = std::exchange(spare, nullptr);
  } else if ((own_ = PyContext_Copy(captured)) == nullptr) {
    return false;
  }
  if (PyContext_Enter(own_) == 0) return true;
  Py_CLEAR(own_);
  return false;
}

bool OwnContext::renew() {
  PyObject* const captured = captured_;
  const bool ours = comparable && owned_alone(own_, 2);  // the thread that is inside has it too
  if (ours && variables_of(own_) == variables_of(captured)) return true;
  leave();
  return enter(captured, false);
}

void OwnContext::leave() {
  PyContext_Exit(own_);
  // Whoever has it still, a token of a variable say, could see what the next body does.
  const bool unchanged = captured_ == kept && own_ != captured_ && spare == nullptr && owned_alone(own_, 1) &&
                         variables_of(own_) == variables_of(captured_);
  if (unchanged) {
    spare = std::exchange(own_, nullptr);
  } else {
    Py_CLEAR(own_);
  }
}

// `comparable` if a copy shares its original's tree, and setting a variable replaces it.
void find_context_layout() {
#if !defined(Py_GIL_DISABLED) && PY_VERSION_HEX < 0x030F0000
  if (PyContext_Type.tp_basicsize < static_cast<Py_ssize_t>(sizeof(ContextFront))) return;
  const Ref context = Ref::steal(PyContext_CopyCurrent());
  const Ref variable = Ref::steal(PyContextVar_New("tailrace", nullptr));
  if (!context || !variable || PyContext_Enter(context.get()) != 0) throw py::error_already_set();
  const PyObject* const before = variables_of(context.get());
  const Ref token = Ref::steal(PyContextVar_Set(variable.get(), Py_None));
  const PyObject* const after = variables_of(context.get());
  const Ref copy = Ref::steal(PyContext_CopyCurrent());
  PyContext_Exit(context.get());
  if (!token || !copy) throw py::error_already_set();
  comparable = before != after && variables_of(copy.get()) == after && after != nullptr;
#endif
}

}  // namespace tailrace::bindings
