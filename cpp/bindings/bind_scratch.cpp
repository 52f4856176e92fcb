// bind_scratch.cpp -- `tr.scratch`: an array out of the pool of whoever runs here, under the step's name.
//
// GIL       Held.
// Lifetime  A runtime holds its pool, once it has one, to its end; a body holds its runtime. Outside of both, the call holds it.
#include "frame.hpp"
#include "pool_methods.hpp"
#include "pybind.hpp"
#include "runtime.hpp"

namespace tailrace::bindings {

namespace {

// The pool of the runtime; with null, of whatever a call here would run on. Made by Python at its first use.
PyObject* find_pool(RuntimeObject* runtime) {
  if (runtime != nullptr && runtime->memory_pool != nullptr) return Py_NewRef(runtime->memory_pool);
  const Ref module = Ref::steal(PyImport_ImportModule("tailrace._scratch"));
  const Ref find = Ref::steal(module ? PyObject_GetAttrString(module.get(), "pool_of") : nullptr);
  if (!find) return nullptr;
  PyObject* const given = runtime != nullptr ? reinterpret_cast<PyObject*>(runtime) : Py_None;
  Ref pool = Ref::steal(outside([&] { return PyObject_CallOneArg(find.get(), given); }));
  if (pool && !PyObject_TypeCheck(pool.get(), pool_type)) {
    return PyErr_Format(PyExc_TypeError, "scratch: %R is no memory pool", pool.get());
  }
  return pool.release();
}

// A step's name; all that was submitted stands under one, as callables come and go.
PyObject* tag_of(const RunningBody& body) {
  static PyObject* submitted = nullptr;
  if (body.label == nullptr || body.workflow != nullptr) return body.label;
  if (submitted == nullptr) submitted = PyUnicode_InternFromString("submit");
  return submitted;
}

// Only the statistics are the poorer if the pool has as many tags as it may.
bool tag_wish(PoolObject* pool, PyObject* name, Wish* wish) {
  if (name == nullptr) return true;
  if (find_tag(pool, name, &wish->tag)) return wish->tag_name = name, true;
  if (PyErr_ExceptionMatches(PyExc_ValueError) == 0) return false;
  PyErr_Clear();
  return true;
}

// scratch(shape, dtype="float64", *, timeout_s=None, collect=True)
PyObject* scratch(PyObject*, PyObject* const* args, Py_ssize_t given, PyObject* names) {
  const RunningBody body = running_body();
  const Ref runtime = Ref::borrow(reinterpret_cast<PyObject*>(body.runtime));  // an async step may end meanwhile
  const Ref tag_name = Ref::borrow(tag_of(body));
  const Ref held = Ref::steal(find_pool(body.runtime));
  if (!held) return nullptr;
  PoolObject* const pool = reinterpret_cast<PoolObject*>(held.get());
  ArrayCall call;
  if (!read_call(pool, "tr.scratch", false, args, given, names, &call)) return nullptr;
  if (!tag_wish(pool, tag_name.get(), &call.wish)) return nullptr;
  return make_array(pool, call.shape, call.dtype, call.wish, false);
}

// adopt_pool(runtime, pool): the pool of the runtime, which is `pool` if it had none.
PyObject* adopt_pool(PyObject*, PyObject* args) {
  PyObject* runtime = nullptr;
  PyObject* pool = nullptr;
  if (!PyArg_ParseTuple(args, "O!O:adopt_pool", runtime_type, &runtime, &pool)) return nullptr;
  if (pool != Py_None && !PyObject_TypeCheck(pool, pool_type)) {
    return PyErr_Format(PyExc_TypeError, "adopt_pool: %R is no memory pool", pool);
  }
  PyObject*& own = reinterpret_cast<RuntimeObject*>(runtime)->memory_pool;
  if (own == nullptr && pool != Py_None) own = Py_NewRef(pool);
  return Py_NewRef(own != nullptr ? own : Py_None);
}

PyMethodDef scratch_functions[] = {
    {"scratch", reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(guarded<scratch>)),
     METH_FASTCALL | METH_KEYWORDS,
     "scratch(shape, dtype='float64', *, timeout_s=None, collect=True)\n--\n\n"
     "Return an array of undefined content out of the pool of the runtime whose step runs here.\n\n"
     "Its block goes back when the last reference has gone: of a local name, when the step ends. It is counted\n"
     "under the step's name. Outside of steps it is the pool of the runtime that a call here would use.\n\n"
     "Args:\n"
     "    shape: An int or a tuple of ints.\n"
     "    dtype: Whatever NumPy takes for one without Python objects.\n"
     "    timeout_s: Seconds to wait for memory that others give back; None: not at all.\n"
     "    collect: Whether the garbage collector runs before the pool refuses.\n\n"
     "Raises:\n"
     "    TypeError, ValueError: for a shape or dtype that cannot be.\n"
     "    PoolExhausted: if there is no room below the pool's limit, or the tag's.\n\n"
     ">>> import tailrace as tr\n"
     ">>> @tr.step\n"
     "... def norm(count: int) -> float:\n"
     "...     work = tr.scratch(count, \"float32\")\n"
     "...     work.fill(2.0)\n"
     "...     return float(work @ work) ** 0.5\n"
     ">>> norm(4)\n"
     "4.0\n"},
    {"adopt_pool", guarded<adopt_pool>, METH_VARARGS,
     "adopt_pool(runtime, pool, /)\n--\n\nThe pool of the runtime, or None; it becomes `pool` if it had none."},
    {nullptr, nullptr, 0, nullptr},
};

}  // namespace

void bind_scratch(PyObject* module) {
  if (PyModule_AddFunctions(module, scratch_functions) != 0) throw py::error_already_set();
}

}  // namespace tailrace::bindings
