// pool_array.cpp -- NumPy arrays over blocks of a pool, and `_core._Block`, which owns the block of one.
//
// GIL       Held, but while a large block is filled with zeros.
// Lifetime  array -> owner -> block and the pool's state. A view has the array as its base, so it keeps the block too. The
//           Python object of the pool is not held: it may go first, and no cycle leads through an array.
#include <cstring>
#include <iterator>
#include <new>

#include "pool.hpp"
#include "pybind.hpp"

namespace tailrace::bindings {

namespace {

constexpr std::size_t kLongFill = std::size_t{1} << 20;  // 20 us and more

struct OwnerObject {
  PyObject_HEAD
  void* block;
  Tag* tag;
  std::shared_ptr<PoolState> state;
};

PyTypeObject* owner_type = nullptr;

OwnerObject* owner_of(PyObject* object) { return reinterpret_cast<OwnerObject*>(object); }

PyObject* make_owner(const std::shared_ptr<PoolState>& state, void* block, Tag* tag) {
  PyObject* const object = owner_type->tp_alloc(owner_type, 0);
  if (object == nullptr) return nullptr;
  OwnerObject* const owner = owner_of(object);
  owner->block = block;
  owner->tag = tag;
  new (&owner->state) std::shared_ptr<PoolState>{state};
  return object;
}

void owner_dealloc(PyObject* object) {
  OwnerObject* const owner = owner_of(object);
  PyTypeObject* const type = Py_TYPE(object);
  owner->state->give(owner->block, owner->tag);
  owner->state.~shared_ptr();
  type->tp_free(object);
  Py_DECREF(type);
}

PyObject* owner_repr(PyObject* object) {
  const OwnerObject* const owner = owner_of(object);
  return PyUnicode_FromFormat("<block of %zu bytes of a tailrace memory pool>",
                              owner->state->pool.usable_bytes(owner->block));
}

PyType_Slot owner_slots[] = {
    {Py_tp_dealloc, reinterpret_cast<void*>(guarded_dealloc<owner_dealloc>)},
    {Py_tp_repr, reinterpret_cast<void*>(guarded<owner_repr>)},
    {0, nullptr},
};
PyType_Spec owner_spec = {"tailrace._core._Block", sizeof(OwnerObject), 0,
                          Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE | Py_TPFLAGS_DISALLOW_INSTANTIATION,
                          owner_slots};

// What was passed for a dtype, and what it means. Kept by identity: it is the same object from call to call.
struct Dtype {
  PyObject* given = nullptr;
  PyObject* descr = nullptr;
  std::size_t item_bytes = 0;
};

Dtype known_dtypes[64];

Dtype& place_of(PyObject* given) {
  const auto bits = reinterpret_cast<std::uintptr_t>(given);
  return known_dtypes[(bits >> 4 ^ bits >> 10) % std::size(known_dtypes)];
}

// Can it mean something else in the next call? A list can, and a class that defines `dtype`.
bool is_constant(const NumpyApi& api, PyObject* given) {
  if (given == Py_None || PyUnicode_CheckExact(given) || PyObject_TypeCheck(given, api.descr_type)) return true;
  return PyType_Check(given) && !PyType_HasFeature(reinterpret_cast<PyTypeObject*>(given), Py_TPFLAGS_HEAPTYPE);
}

bool explain_unknown(PyObject* given) {
  const Ref cause = Ref::steal(take_raised());
  if (PyErr_GivenExceptionMatches(cause.get(), PyExc_Exception) == 0) return raise(cause.get()), false;
  PyErr_Format(PyExc_TypeError, "MemoryPool: dtype %R is none that NumPy knows (%S); write for instance \"float32\"",
               given, cause.get());
  return false;
}

bool has_fixed_items(PyObject* descr, Dtype* found) {
  const Ref has_object = Ref::steal(PyObject_GetAttrString(descr, "hasobject"));
  const Ref kind = Ref::steal(has_object ? PyObject_GetAttrString(descr, "kind") : nullptr);
  const Ref size = Ref::steal(kind ? PyObject_GetAttrString(descr, "itemsize") : nullptr);
  if (!size) return false;
  const char* const letter = PyUnicode_AsUTF8(kind.get());
  if (letter == nullptr) return false;
  if (has_object.get() != Py_False || std::strchr("biufcmMSUVO", *letter) == nullptr) {
    PyErr_Format(PyExc_TypeError,
                 "MemoryPool: an array of %R holds references to Python objects, which cannot lie in a pool; use "
                 "numpy.empty for it",
                 descr);
    return false;
  }
  found->item_bytes = PyLong_AsSize_t(size.get());
  if (PyErr_Occurred() != nullptr) return false;
  if (found->item_bytes == 0) {
    PyErr_Format(PyExc_ValueError, "MemoryPool: dtype %R does not say how long an item is; write for instance \"S16\"",
                 descr);
  }
  return found->item_bytes != 0;
}

// `found->descr` is a new reference.
bool find_dtype(const NumpyApi& api, PyObject* given, Dtype* found) {
  Dtype& known = place_of(given);
  if (known.given == given) {
    *found = known;
    Py_INCREF(found->descr);
    return true;
  }
  PyObject* descr = nullptr;
  if (outside([&] { return api.to_descr(given, &descr); }) != 1) return explain_unknown(given);
  found->descr = descr;
  if (!has_fixed_items(descr, found)) return Py_DECREF(descr), false;
  if (is_constant(api, given)) {
    const Ref old_given = Ref::steal(std::exchange(known.given, nullptr));
    const Ref old_descr = Ref::steal(std::exchange(known.descr, nullptr));
    known = {Py_NewRef(given), Py_NewRef(descr), found->item_bytes};
  }
  return true;
}

struct Shape {
  Py_ssize_t sizes[kNumpyMaxDimensions];
  int count = 0;
};

bool add_size(PyObject* given, Shape* shape) {
  const Py_ssize_t size = PyNumber_AsSsize_t(given, PyExc_OverflowError);
  if (size >= 0) return shape->sizes[shape->count++] = size, true;
  if (PyErr_Occurred() == nullptr) {
    PyErr_Format(PyExc_ValueError, "MemoryPool: a shape has no negative sizes, got %R", given);
  } else if (PyErr_ExceptionMatches(PyExc_OverflowError) != 0) {
    PyErr_Format(PyExc_ValueError, "MemoryPool: the size %R in a shape is more than any memory", given);
  } else if (PyErr_ExceptionMatches(PyExc_TypeError) != 0) {
    PyErr_Format(PyExc_TypeError, "MemoryPool: a shape is an int or a tuple of ints, got %R in it", given);
  }
  return false;
}

bool read_shape(PyObject* given, Shape* shape) {
  if (PyLong_CheckExact(given)) return add_size(given, shape);
  if (PyUnicode_Check(given) || (!PySequence_Check(given) && !PyIndex_Check(given))) {
    PyErr_Format(PyExc_TypeError,
                 "MemoryPool: a shape is an int or a tuple of ints, got %R; write pool.empty((1024, 256))", given);
    return false;
  }
  if (!PySequence_Check(given)) return add_size(given, shape);
  const Ref sizes = Ref::steal(PySequence_Tuple(given));
  if (!sizes) return false;
  const Py_ssize_t count = PyTuple_GET_SIZE(sizes.get());
  if (count > kNumpyMaxDimensions) {
    PyErr_Format(PyExc_ValueError, "MemoryPool: a shape has at most %d dimensions, got %zd", kNumpyMaxDimensions,
                 count);
    return false;
  }
  for (Py_ssize_t i = 0; i < count; ++i) {
    if (!add_size(PyTuple_GET_ITEM(sizes.get(), i), shape)) return false;
  }
  return true;
}

// As NumPy counts them: a size of 0 does not make the rest of the shape reasonable.
bool count_bytes(PyObject* given, const Shape& shape, std::size_t item_bytes, std::size_t* bytes) {
  std::size_t product = item_bytes;
  bool is_empty = false;
  for (int i = 0; i < shape.count; ++i) {
    const auto size = static_cast<std::size_t>(shape.sizes[i]);
    is_empty |= size == 0;
    if (size != 0 && (__builtin_mul_overflow(product, size, &product) || product > PY_SSIZE_T_MAX)) {
      PyErr_Format(PyExc_ValueError, "MemoryPool: an array of shape %R with items of %zu bytes is more than any memory",
                   given, item_bytes);
      return false;
    }
  }
  *bytes = is_empty ? 0 : product;
  return true;
}

}  // namespace

void zero_block(void* block, std::size_t bytes) {
  if (bytes < kLongFill) {
    std::memset(block, 0, bytes);
    return;
  }
  PyThreadState* const state = PyEval_SaveThread();
  std::memset(block, 0, bytes);
  PyEval_RestoreThread(state);
}

PyObject* make_array(PoolObject* pool, PyObject* given, PyObject* dtype, const Wish& wish, bool zeroed) {
  const NumpyApi* const api = numpy_api();
  if (api == nullptr) return nullptr;
  Shape shape;
  Dtype type;
  std::size_t bytes = 0;
  if (!read_shape(given, &shape) || !find_dtype(*api, dtype, &type)) return nullptr;
  if (!count_bytes(given, shape, type.item_bytes, &bytes)) return Py_DECREF(type.descr), nullptr;
  void* const block = take_block(pool, bytes, wish);
  if (block == nullptr) return Py_DECREF(type.descr), nullptr;
  PyObject* const owner = make_owner(pool->state, block, wish.tag);
  if (owner == nullptr) {
    pool->state->give(block, wish.tag);
    return Py_DECREF(type.descr), nullptr;
  }
  if (zeroed) zero_block(block, bytes);
  PyObject* const array =
      api->new_array(api->array_type, type.descr, shape.count, shape.sizes, nullptr, block, kNumpyCArray, nullptr);
  if (array == nullptr) return Py_DECREF(owner), nullptr;
  if (api->set_base(array, owner) != 0) return Py_DECREF(array), nullptr;
  return array;
}

void bind_pool_array(PyObject*) {
  owner_type = reinterpret_cast<PyTypeObject*>(PyType_FromSpec(&owner_spec));
  if (owner_type == nullptr) throw py::error_already_set();
}

}  // namespace tailrace::bindings
