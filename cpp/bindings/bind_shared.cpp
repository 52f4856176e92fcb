// bind_shared.cpp -- `_core.SharedPoolCore` and `_core.SharedMemory`, the hold of a shared block as a buffer.
//
// GIL       Held but for `trim`, which may free many pages.
// Lifetime  A SharedMemory holds its block, and with it the participant: it lives as long as a NumPy view of it does, and
//           after the pool. No Python call is made when it ends.
#include "bindings.hpp"

#include <structmember.h>

#include <new>
#include <optional>
#include <system_error>

#include "pybind.hpp"
#include "tailrace/pool/shared_pool.hpp"

namespace tailrace::bindings {

namespace {

struct PoolObject {
  PyObject_HEAD
  PyObject* weakrefs;
  std::optional<pool::SharedPool> pool;
};

struct MemoryObject {
  PyObject_HEAD
  pool::SharedBlock block;
};

PyTypeObject* memory_type = nullptr;
PyObject* fault_type = nullptr;

PoolObject* self_of(PyObject* object) { return reinterpret_cast<PoolObject*>(object); }
pool::SharedBlock& block_of(PyObject* object) { return reinterpret_cast<MemoryObject*>(object)->block; }

const char* name_of(pool::SharedFault fault) {
  using enum pool::SharedFault;
  switch (fault) {
    case kNoMemfd:
      return "no_memfd";
    case kUnsealed:
      return "unsealed";
    case kNoPool:
      return "no_pool";
    case kVersion:
      return "version";
    case kFull:
      return "full";
    case kForeign:
      return "foreign";
    case kBad:
      return "bad";
    case kStale:
      return "stale";
    case kReadOnly:
      return "read_only";
    case kClosed:
      return "closed";
    case kForked:
      return "forked";
  }
  return "unknown";
}

// What the core throws, as Python's: a fault has its text in tailrace/shared_pool.py.
template <class F>
PyObject* translated(F&& f) {
  try {
    return f();
  } catch (const pool::SharedPoolError& error) {
    PyErr_SetString(fault_type, name_of(error.fault()));
  } catch (const std::system_error& error) {
    errno = error.code().value();
    PyErr_SetFromErrno(PyExc_OSError);
  } catch (const std::invalid_argument& error) {
    PyErr_SetString(PyExc_ValueError, error.what());
  } catch (const std::bad_alloc&) {
    PyErr_NoMemory();
  }
  return nullptr;
}

PyObject* make_memory(pool::SharedBlock block) {
  PyObject* made = memory_type->tp_alloc(memory_type, 0);
  if (made != nullptr) new (&block_of(made)) pool::SharedBlock{std::move(block)};
  return made;
}

pool::SharedPool* pool_of(PyObject* object) {
  auto& pool = self_of(object)->pool;
  if (!pool) PyErr_SetString(PyExc_RuntimeError, "this shared pool was never set up");
  return pool ? &*pool : nullptr;
}

PyObject* pool_new(PyTypeObject* type, PyObject*, PyObject*) {
  PyObject* made = type->tp_alloc(type, 0);
  if (made != nullptr) new (&self_of(made)->pool) std::optional<pool::SharedPool>;
  return made;
}

int pool_init(PyObject* object, PyObject* args, PyObject* kwargs) {
  static const char* keywords[] = {"limit_bytes", "descriptor", "writable", nullptr};
  Py_ssize_t limit_bytes = 0;
  int descriptor = -1, writable = 1;
  if (!PyArg_ParseTupleAndKeywords(args, kwargs, "nip:SharedPoolCore", const_cast<char**>(keywords), &limit_bytes,
                                   &descriptor, &writable)) {
    return -1;
  }
  if (self_of(object)->pool) return PyErr_SetString(PyExc_RuntimeError, "a shared pool is set up once"), -1;
  const Ref done = Ref::steal(translated([&] {
    self_of(object)->pool.emplace(limit_bytes > 0 ? pool::SharedPool{static_cast<std::size_t>(limit_bytes)}
                                                  : pool::SharedPool::attach(descriptor, writable != 0));
    return Py_NewRef(Py_None);
  }));
  return done ? 0 : -1;
}

void pool_dealloc(PyObject* object) {
  PyTypeObject* type = Py_TYPE(object);
  if (self_of(object)->weakrefs != nullptr) PyObject_ClearWeakRefs(object);
  self_of(object)->pool.~optional();
  type->tp_free(object);
  Py_DECREF(type);
}

PyObject* pool_allocate(PyObject* object, PyObject* given) {
  const Py_ssize_t bytes = PyLong_AsSsize_t(given);
  if (bytes < 0 && PyErr_Occurred() != nullptr) return nullptr;
  pool::SharedPool* const pool = pool_of(object);
  if (pool == nullptr) return nullptr;
  return translated([&]() -> PyObject* {
    pool::SharedBlock block = pool->allocate(bytes < 0 ? 0 : static_cast<std::size_t>(bytes));
    if (!block) return Py_NewRef(Py_None);
    return make_memory(std::move(block));
  });
}

PyObject* pool_share(PyObject* object, PyObject* const* args, Py_ssize_t given) {
  if (given != 2 || !Py_IS_TYPE(args[0], memory_type)) {
    return PyErr_Format(PyExc_TypeError, "share_raw() takes a SharedMemory and a bool");
  }
  const int until_opened = PyObject_IsTrue(args[1]);
  pool::SharedPool* const pool = until_opened < 0 ? nullptr : pool_of(object);
  if (pool == nullptr) return nullptr;
  return translated([&] {
    const pool::SharedHandle h = pool->share(block_of(args[0]), until_opened != 0);
    return Py_BuildValue("(KKKKK)", h.segment, h.offset, h.serial, h.bytes, h.courier);
  });
}

PyObject* pool_open(PyObject* object, PyObject* const* args, Py_ssize_t given) {
  if (given != 6) return PyErr_Format(PyExc_TypeError, "open_raw() takes 6 arguments, got %zd", given);
  std::uint64_t part[5];
  for (int i = 0; i < 5; ++i) {
    part[i] = PyLong_AsUnsignedLongLong(args[i]);
    if (part[i] == ~std::uint64_t{0} && PyErr_Occurred() != nullptr) return nullptr;
  }
  const int writable = PyObject_IsTrue(args[5]);
  pool::SharedPool* const pool = writable < 0 ? nullptr : pool_of(object);
  if (pool == nullptr) return nullptr;
  const pool::SharedHandle handle{
      .segment = part[0], .offset = part[1], .serial = part[2], .bytes = part[3], .courier = part[4]};
  return translated([&] { return make_memory(pool->open(handle, writable != 0)); });
}

PyObject* pool_reap(PyObject* object, PyObject*) {
  pool::SharedPool* const pool = pool_of(object);
  return pool == nullptr ? nullptr : translated([&] { return PyLong_FromSize_t(pool->reap()); });
}

PyObject* pool_trim(PyObject* object, PyObject*) {
  if (pool_of(object) == nullptr) return nullptr;
  return translated([&] {
    pool::SharedPool pool = *pool_of(object);  // the object may be gone when the GIL is back
    PyThreadState* const state = PyEval_SaveThread();
    const std::size_t bytes = pool.trim();
    PyEval_RestoreThread(state);
    return PyLong_FromSize_t(bytes);
  });
}

PyObject* pool_close(PyObject* object, PyObject*) {
  pool::SharedPool* const pool = pool_of(object);
  if (pool == nullptr) return nullptr;
  pool->close();
  Py_RETURN_NONE;
}

PyObject* pool_fileno(PyObject* object, PyObject*) {
  pool::SharedPool* const pool = pool_of(object);
  return pool == nullptr ? nullptr : PyLong_FromLong(pool->descriptor());
}

PyObject* pool_statistics(PyObject* object, PyObject*) {
  pool::SharedPool* const pool = pool_of(object);
  if (pool == nullptr) return nullptr;
  const pool::SharedStatistics s = pool->statistics();
  return Py_BuildValue("{s:K,s:K,s:K,s:K,s:K,s:K,s:K,s:K,s:K,s:K,s:K,s:K,s:K,s:K}", "limit_bytes", s.limit_bytes,
                       "granule_bytes", s.granule_bytes, "used_bytes", s.used_bytes, "largest_free_bytes",
                       s.largest_free_bytes, "blocks", s.blocks, "in_transit", s.in_transit, "participants",
                       s.participants, "held_blocks", s.held_blocks, "n_alloc", s.n_alloc, "n_open", s.n_open,
                       "n_stale", s.n_stale, "n_exhausted", s.n_exhausted, "n_reaped", s.n_reaped, "reclaimed_blocks",
                       s.reclaimed_blocks);
}

PyObject* pool_closed(PyObject* object, void*) {
  pool::SharedPool* const pool = pool_of(object);
  return pool == nullptr ? nullptr : PyBool_FromLong(pool->closed());
}
PyObject* pool_writable(PyObject* object, void*) {
  pool::SharedPool* const pool = pool_of(object);
  return pool == nullptr ? nullptr : PyBool_FromLong(pool->writable());
}

template <class F>
PyCFunction function(F* f) {
  return reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(f));
}

PyMethodDef pool_methods[] = {
    {"allocate_raw", guarded<pool_allocate>, METH_O, "allocate_raw($self, nbytes, /)\n--\n\nA block, or None."},
    {"share_raw", function(guarded<pool_share>), METH_FASTCALL,
     "share_raw($self, memory, until_opened, /)\n--\n\nThe five numbers of its handle."},
    {"open_raw", function(guarded<pool_open>), METH_FASTCALL,
     "open_raw($self, segment, offset, serial, nbytes, courier, writable, /)\n--\n\nThe block of a handle."},
    {"reap", guarded<pool_reap>, METH_NOARGS,
     "reap($self, /)\n--\n\nTake back what dead participants held; return how many there were.\n\n"
     "It is done anyway when memory is short and when a process attaches."},
    {"trim", guarded<pool_trim>, METH_NOARGS,
     "trim($self, /)\n--\n\nGive the pages of free memory back to the system; return how many bytes are free.\n\n"
     "An allocation by another process at the same time may find less than there is."},
    {"close", guarded<pool_close>, METH_NOARGS,
     "close($self, /)\n--\n\nRefuse `alloc` and `open` from now on; arrays stay good."},
    {"fileno", guarded<pool_fileno>, METH_NOARGS,
     "fileno($self, /)\n--\n\nThe descriptor by which another process attaches; it stays the pool's."},
    {"statistics_raw", guarded<pool_statistics>, METH_NOARGS, "What the pool has counted, as a dictionary."},
    {nullptr, nullptr, 0, nullptr},
};
PyGetSetDef pool_getset[] = {
    {"closed", guarded<pool_closed>, nullptr, "Whether it refuses `alloc` and `open`.", nullptr},
    {"writable", guarded<pool_writable>, nullptr, "Whether it was made here, or attached for writing.", nullptr},
    {nullptr, nullptr, nullptr, nullptr, nullptr},
};
PyMemberDef pool_members[] = {
    {"__weaklistoffset__", T_PYSSIZET, offsetof(PoolObject, weakrefs), READONLY, nullptr},
    {nullptr, 0, 0, 0, nullptr},
};
PyType_Slot pool_slots[] = {
    {Py_tp_new, reinterpret_cast<void*>(guarded<pool_new>)},
    {Py_tp_init, reinterpret_cast<void*>(guarded<pool_init>)},
    {Py_tp_dealloc, reinterpret_cast<void*>(guarded_dealloc<pool_dealloc>)},
    {Py_tp_methods, pool_methods},
    {Py_tp_getset, pool_getset},
    {Py_tp_members, pool_members},
    {Py_tp_doc, const_cast<char*>("Blocks that several processes hold: what tailrace.SharedPool stands on.")},
    {0, nullptr},
};
PyType_Spec pool_spec = {"tailrace._core.SharedPoolCore", sizeof(PoolObject), 0,
                         Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE, pool_slots};

void memory_dealloc(PyObject* object) {
  PyTypeObject* type = Py_TYPE(object);
  block_of(object).~SharedBlock();
  type->tp_free(object);
  Py_DECREF(type);
}

int memory_buffer(PyObject* object, Py_buffer* view, int flags) {
  pool::SharedBlock& block = block_of(object);
  return PyBuffer_FillInfo(view, object, block.data(), static_cast<Py_ssize_t>(block.bytes()), !block.writable(),
                           flags);
}

Py_ssize_t memory_length(PyObject* object) { return static_cast<Py_ssize_t>(block_of(object).bytes()); }
PyObject* memory_address(PyObject* object, void*) { return PyLong_FromVoidPtr(block_of(object).data()); }

PyGetSetDef memory_getset[] = {
    {"address", guarded<memory_address>, nullptr, "Where the bytes lie in this process.", nullptr},
    {nullptr, nullptr, nullptr, nullptr, nullptr},
};
PyType_Slot memory_slots[] = {
    {Py_tp_dealloc, reinterpret_cast<void*>(guarded_dealloc<memory_dealloc>)},
    {Py_bf_getbuffer, reinterpret_cast<void*>(guarded<memory_buffer>)},
    {Py_sq_length, reinterpret_cast<void*>(guarded<memory_length>)},
    {Py_tp_getset, memory_getset},
    {Py_tp_doc, const_cast<char*>("A hold on a shared block, as a buffer.")},
    {0, nullptr},
};
PyType_Spec memory_spec = {"tailrace._core.SharedMemory", sizeof(MemoryObject), 0,
                           Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE | Py_TPFLAGS_DISALLOW_INSTANTIATION,
                           memory_slots};

}  // namespace

void bind_shared(PyObject* module) {
  add_type(module, pool_spec);
  memory_type = add_type(module, memory_spec);
  fault_type = PyErr_NewException("tailrace._core.SharedFault", nullptr, nullptr);
  if (fault_type == nullptr || PyModule_AddObjectRef(module, "SharedFault", fault_type) != 0) {
    throw py::error_already_set();
  }
}

}  // namespace tailrace::bindings
