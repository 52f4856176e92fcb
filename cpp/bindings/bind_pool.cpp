// bind_pool.cpp -- `_core.PoolCore`: the C half of `tr.MemoryPool`.
//
// GIL       Held, but while the system gives or takes back many pages.
// Lifetime  The object holds the pool's state, as each of its blocks does; it holds no Python object.
#include <limits>
#include <stdexcept>

#include "pool_methods.hpp"
#include "pybind.hpp"

namespace tailrace::bindings {

namespace {

constexpr std::size_t kMaxTags = 4096;

PoolObject* self_of(PyObject* object) { return reinterpret_cast<PoolObject*>(object); }

PyObject* pool_new(PyTypeObject* type, PyObject*, PyObject*) {
  PyObject* const object = type->tp_alloc(type, 0);
  if (object != nullptr) new (&self_of(object)->state) std::shared_ptr<PoolState>;
  return object;
}

int pool_init(PyObject* object, PyObject* args, PyObject* kwargs) {
  static const char* keywords[] = {"limit", "huge_pages", "hardened", "decay_ns", nullptr};
  Py_ssize_t limit = 0;
  int huge_pages = 1;
  int hardened = 0;
  long long decay_ns = 0;
  if (!PyArg_ParseTupleAndKeywords(args, kwargs, "nppL:PoolCore", const_cast<char**>(keywords), &limit, &huge_pages,
                                   &hardened, &decay_ns)) {
    return -1;
  }
  if (self_of(object)->state) return PyErr_SetString(PyExc_RuntimeError, "a MemoryPool is made once"), -1;
  pool::PoolOptions options;
  options.limit_bytes = static_cast<std::size_t>(limit);
  options.huge_pages = huge_pages != 0 ? pool::HugePages::kAutomatic : pool::HugePages::kOff;
  options.hardened = hardened != 0;
  options.decay_ns = decay_ns;
  try {
    self_of(object)->state = std::make_shared<PoolState>(options);
  } catch (const std::invalid_argument& error) {
    return PyErr_SetString(PyExc_ValueError, error.what()), -1;
  } catch (const std::bad_alloc&) {
    PyErr_Format(PyExc_MemoryError,
                 "MemoryPool: the system does not give %zd bytes of address space, twice limit=%zd; see `ulimit -v`",
                 2 * limit, limit);
    return -1;
  }
  return 0;
}

void pool_dealloc(PyObject* object) {
  PyTypeObject* const type = Py_TYPE(object);
  self_of(object)->state.~shared_ptr();
  type->tp_free(object);
  Py_DECREF(type);
}

PoolState* state_of(PyObject* object) {
  PoolState* const state = self_of(object)->state.get();
  if (state == nullptr) PyErr_SetString(PyExc_RuntimeError, "this MemoryPool was not made: call super().__init__()");
  return state;
}

// empty(shape, dtype="float64", *, tag=None, timeout_s=None, collect=True), and zeros.
PyObject* allocate(PyObject* object, PyObject* const* args, Py_ssize_t given, PyObject* names, bool zeroed) {
  const char* const what = zeroed ? "MemoryPool.zeros" : "MemoryPool.empty";
  ArrayCall call;
  if (state_of(object) == nullptr || !read_call(self_of(object), what, true, args, given, names, &call)) return nullptr;
  return make_array(self_of(object), call.shape, call.dtype, call.wish, zeroed);
}

PyObject* pool_empty(PyObject* object, PyObject* const* args, Py_ssize_t given, PyObject* names) {
  return allocate(object, args, given, names, false);
}
PyObject* pool_zeros(PyObject* object, PyObject* const* args, Py_ssize_t given, PyObject* names) {
  return allocate(object, args, given, names, true);
}

// try_raw(shape, dtype, tag): None where waiting might help.
PyObject* pool_try(PyObject* object, PyObject* args) {
  PyObject* shape = nullptr;
  PyObject* dtype = nullptr;
  Wish wish;
  wish.only_try = true;
  if (state_of(object) == nullptr || !PyArg_ParseTuple(args, "OOO:try_raw", &shape, &dtype, &wish.tag_name)) {
    return nullptr;
  }
  if (wish.tag_name == Py_None) wish.tag_name = nullptr;
  if (wish.tag_name != nullptr && !find_tag(self_of(object), wish.tag_name, &wish.tag)) return nullptr;
  PyObject* const array = make_array(self_of(object), shape, dtype, wish, false);
  return array != nullptr || PyErr_Occurred() != nullptr ? array : Py_NewRef(Py_None);
}

PyObject* pool_close(PyObject* object, PyObject*) {
  PoolState* const state = state_of(object);
  if (state == nullptr) return nullptr;
  state->close();
  Py_RETURN_NONE;
}

PyObject* pool_trim(PyObject* object, PyObject* keep) {
  const std::size_t keep_bytes = PyLong_AsSize_t(keep);
  PoolState* const state = state_of(object);
  if (state == nullptr || PyErr_Occurred() != nullptr) return nullptr;
  PyThreadState* const thread = PyEval_SaveThread();
  const std::size_t bytes = state->pool.trim(keep_bytes);
  PyEval_RestoreThread(thread);
  return PyLong_FromSize_t(bytes);
}

PyObject* pool_reserve(PyObject* object, PyObject* args) {
  Py_ssize_t wanted = 0;
  int prefault = 0;
  PoolState* const state = state_of(object);
  if (state == nullptr || !PyArg_ParseTuple(args, "np:reserve_raw", &wanted, &prefault)) return nullptr;
  PyThreadState* const thread = PyEval_SaveThread();
  const std::size_t bytes = state->pool.reserve(static_cast<std::size_t>(wanted), prefault != 0);
  PyEval_RestoreThread(thread);
  return PyLong_FromSize_t(bytes);
}

PyObject* pool_closed(PyObject* object, void*) {
  const PoolState* const state = state_of(object);
  return state != nullptr ? PyBool_FromLong(state->pool.closed()) : nullptr;
}

template <PyObject* (*F)(PyObject*, PyObject* const*, Py_ssize_t, PyObject*)>
PyCFunction with_keywords() {
  return reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(guarded<F>));
}

PyMethodDef pool_methods[] = {
    {"empty", with_keywords<pool_empty>(), METH_FASTCALL | METH_KEYWORDS,
     "empty($self, shape, dtype='float64', *, tag=None, timeout_s=None, collect=True)\n--\n\n"
     "Return a new array of undefined content; its block goes back to the pool with it."},
    {"zeros", with_keywords<pool_zeros>(), METH_FASTCALL | METH_KEYWORDS,
     "zeros($self, shape, dtype='float64', *, tag=None, timeout_s=None, collect=True)\n--\n\n"
     "Return a new array of zeros; its block goes back to the pool with it."},
    {"try_raw", guarded<pool_try>, METH_VARARGS,
     "try_raw($self, shape, dtype, tag, /)\n--\n\nAs empty; None where waiting might help."},
    {"close_raw", guarded<pool_close>, METH_NOARGS, "close_raw($self)\n--\n\nRefuse new allocations."},
    {"trim_raw", guarded<pool_trim>, METH_O,
     "trim_raw($self, keep_bytes, /)\n--\n\nGive free memory back to the system; return how many bytes."},
    {"reserve_raw", guarded<pool_reserve>, METH_VARARGS,
     "reserve_raw($self, wanted, prefault, /)\n--\n\nCommit so many bytes; return how many are ready."},
    {"shortage_raw", guarded<pool_shortage>, METH_O,
     "shortage_raw($self, wanted, /)\n--\n\nWhat stands against an allocation of so many bytes."},
    {"statistics_raw", guarded<pool_statistics>, METH_NOARGS, "statistics_raw($self)\n--\n\nAll counts, by name."},
    {"tag_raw", guarded<pool_tag>, METH_VARARGS,
     "tag_raw($self, name, limit, /)\n--\n\nMake a tag; bound it if limit >= 0."},
    {"open_scope_raw", guarded<pool_open_scope>, METH_NOARGS,
     "open_scope_raw($self)\n--\n\nThe number of a scope, or -1."},
    {"start_trace_raw", guarded<pool_start_trace>, METH_O,
     "start_trace_raw($self, path, /)\n--\n\nWrite calls to a file; False: that is done already."},
    {"stop_trace_raw", guarded<pool_stop_trace>, METH_NOARGS,
     "stop_trace_raw($self)\n--\n\nEnd the trace; False: there is none."},
    {"read_scope_raw", guarded<pool_read_scope>, METH_O, "read_scope_raw($self, scope, /)\n--\n\nWhat was measured."},
    {"close_scope_raw", guarded<pool_close_scope>, METH_O, "close_scope_raw($self, scope, /)\n--\n\nEnd a scope."},
    {"numpy_handler_raw", guarded<pool_numpy_handler>, METH_O,
     "numpy_handler_raw($self, tag, /)\n--\n\nA handler for NumPy, in a capsule."},
    {"empty_bytes", with_keywords<pool_empty_bytes>(), METH_FASTCALL | METH_KEYWORDS,
     "empty_bytes($self, size, *, tag=None, timeout_s=None, collect=True)\n--\n\n"
     "Return a buffer of so many bytes, of undefined content."},
    {nullptr, nullptr, 0, nullptr},
};
PyMethodDef module_methods[] = {
    {"run_memory", guarded<run_memory>, METH_NOARGS,
     "run_memory($module, /)\n--\n\nWhat the run blocks of all runtimes take, by name."},
    {"set_numpy_handler", guarded<set_numpy_handler>, METH_O,
     "set_numpy_handler(handler, /)\n--\n\nMake it NumPy's allocator in this context; return the one before."},
    {nullptr, nullptr, 0, nullptr},
};
PyGetSetDef pool_getset[] = {
    {"closed", guarded<pool_closed>, nullptr, "Whether the pool refuses new allocations.", nullptr},
    {nullptr, nullptr, nullptr, nullptr, nullptr},
};
PyType_Slot pool_slots[] = {
    {Py_tp_new, reinterpret_cast<void*>(guarded<pool_new>)},
    {Py_tp_init, reinterpret_cast<void*>(guarded<pool_init>)},
    {Py_tp_dealloc, reinterpret_cast<void*>(guarded_dealloc<pool_dealloc>)},
    {Py_tp_methods, pool_methods},
    {Py_tp_getset, pool_getset},
    {Py_tp_doc, const_cast<char*>("A pool of memory, and arrays in it.")},
    {0, nullptr},
};
PyType_Spec pool_spec = {"tailrace._core.PoolCore", sizeof(PoolObject), 0, Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE,
                         pool_slots};

}  // namespace

PyTypeObject* pool_type = nullptr;

bool find_tag(PoolObject* pool, PyObject* name, Tag** tag) {
  if (!PyUnicode_Check(name)) {
    return PyErr_Format(PyExc_TypeError, "MemoryPool: a tag is a text such as tag=\"decoder\", got %R", name), false;
  }
  Py_ssize_t length = 0;
  const char* const text = PyUnicode_AsUTF8AndSize(name, &length);
  if (text == nullptr) return false;
  if (length == 0) return PyErr_SetString(PyExc_ValueError, "MemoryPool: a tag must not be empty"), false;
  auto& tags = pool->state->tags;
  const std::string key{text, static_cast<std::size_t>(length)};
  auto found = tags.find(key);
  if (found == tags.end()) {
    if (tags.size() >= kMaxTags) {
      PyErr_Format(PyExc_ValueError,
                   "MemoryPool: %R would be tag number %zu; a tag names a part of the program, not a request", name,
                   kMaxTags + 1);
      return false;
    }
    found = tags.try_emplace(key).first;
    found->second.name = key;
  }
  return *tag = &found->second, true;
}

int read_wish(PoolObject* pool, PyObject* name, PyObject* value, Wish* wish) {
  if (PyUnicode_CompareWithASCIIString(name, "tag") == 0) {
    if (value == Py_None) return 1;
    wish->tag_name = value;
    return find_tag(pool, value, &wish->tag) ? 1 : -1;
  }
  if (PyUnicode_CompareWithASCIIString(name, "timeout_s") == 0) {
    if (value == Py_None) return 1;
    if (!PyFloat_Check(value) && !PyLong_Check(value)) {
      return PyErr_Format(PyExc_TypeError, "MemoryPool: timeout_s must be a number of seconds, got %R", value), -1;
    }
    wish->timeout_s = PyFloat_AsDouble(value);
    if (wish->timeout_s == -1 && PyErr_Occurred() != nullptr) return -1;
    if (wish->timeout_s >= 0) return 1;
    return PyErr_Format(PyExc_ValueError, "MemoryPool: timeout_s must be 0 or more seconds, got %R", value), -1;
  }
  if (PyUnicode_CompareWithASCIIString(name, "collect") == 0) {
    const int truth = PyObject_IsTrue(value);
    wish->collect = truth == 1;
    return truth < 0 ? -1 : 1;
  }
  return 0;
}

bool read_call(PoolObject* pool, const char* what, bool is_tagged, PyObject* const* args, Py_ssize_t given,
               PyObject* names, ArrayCall* call) {
  if (given > 2) {
    return PyErr_Format(PyExc_TypeError, "%s takes shape and dtype, got %zd arguments", what, given), false;
  }
  if (given > 0) call->shape = args[0];
  if (given > 1) call->dtype = args[1];
  const Py_ssize_t named = names != nullptr ? PyTuple_GET_SIZE(names) : 0;
  for (Py_ssize_t i = 0; i < named; ++i) {
    PyObject* const name = PyTuple_GET_ITEM(names, i);
    PyObject* const value = args[given + i];
    if (given < 1 && PyUnicode_CompareWithASCIIString(name, "shape") == 0) {
      call->shape = value;
    } else if (given < 2 && PyUnicode_CompareWithASCIIString(name, "dtype") == 0) {
      call->dtype = value;
    } else {
      const bool refused = !is_tagged && PyUnicode_CompareWithASCIIString(name, "tag") == 0;
      const int known = refused ? 0 : read_wish(pool, name, value, &call->wish);
      if (known < 0) return false;
      if (known != 0) continue;
      const char* const tag = is_tagged ? "tag, " : "";
      PyErr_Format(PyExc_TypeError, "%s got an unexpected argument %R; it takes shape, dtype, %stimeout_s, collect",
                   what, name, tag);
      return false;
    }
  }
  if (call->shape != nullptr) return true;
  return PyErr_Format(PyExc_TypeError, "%s needs a shape: %s((1024, 256), \"float32\")", what, what), false;
}

void bind_pool(PyObject* module) {
  pool_type = add_type(module, pool_spec);
  bind_pool_array(module);
  bind_pool_buffer(module);
  bind_free_signal(module);
  bind_scratch(module);
  if (PyModule_AddFunctions(module, module_methods) != 0) throw py::error_already_set();
}

}  // namespace tailrace::bindings
