// bind_pool_buffer.cpp -- `_core.PoolBuffer`: bytes in a pool, by the buffer protocol and by DLPack.
//
// GIL       Held, but a consumer of a DLPack export gives it back on any thread, without the GIL.
// Lifetime  The buffer, its read-only twin and each export share one block; the last of them gives it back. A memoryview
//           holds the buffer itself.
#include <cstring>
#include <new>

#include "dlpack.hpp"
#include "pool_methods.hpp"
#include "pybind.hpp"

namespace tailrace::bindings {

namespace {

struct SharedBlock {
  SharedBlock(std::shared_ptr<PoolState> its_state, void* block, std::size_t size, Tag* its_tag)
      : state{std::move(its_state)}, data{block}, bytes{size}, tag{its_tag} {}
  ~SharedBlock() { state->give(data, tag); }
  SharedBlock(const SharedBlock&) = delete;
  SharedBlock& operator=(const SharedBlock&) = delete;

  const std::shared_ptr<PoolState> state;
  void* const data;
  const std::size_t bytes;
  Tag* const tag;
};

struct BufferObject {
  PyObject_HEAD
  PyObject* pool;  // where a copy comes from; null once the collector has taken the buffer apart
  std::shared_ptr<SharedBlock> block;
  bool readonly;
};

PyTypeObject* buffer_type = nullptr;

BufferObject* self_of(PyObject* object) { return reinterpret_cast<BufferObject*>(object); }

PyObject* make_buffer(PyObject* pool, std::shared_ptr<SharedBlock> block, bool readonly) {
  PyObject* const object = buffer_type->tp_alloc(buffer_type, 0);
  if (object == nullptr) return nullptr;
  new (&self_of(object)->block) std::shared_ptr<SharedBlock>{std::move(block)};
  self_of(object)->pool = Py_NewRef(pool);
  self_of(object)->readonly = readonly;
  return object;
}

// Empty with an exception set.
std::shared_ptr<SharedBlock> take_shared(PyObject* pool, std::size_t bytes, const Wish& wish) {
  void* const block = take_block(reinterpret_cast<PoolObject*>(pool), bytes, wish);
  if (block == nullptr) return nullptr;
  return std::make_shared<SharedBlock>(reinterpret_cast<PoolObject*>(pool)->state, block, bytes, wish.tag);
}

int buffer_traverse(PyObject* object, visitproc visit, void* arg) {
  Py_VISIT(Py_TYPE(object));
  Py_VISIT(self_of(object)->pool);
  return 0;
}

int buffer_clear(PyObject* object) {
  Py_CLEAR(self_of(object)->pool);
  return 0;
}

void buffer_dealloc(PyObject* object) {
  PyObject_GC_UnTrack(object);
  PyTypeObject* const type = Py_TYPE(object);
  Py_CLEAR(self_of(object)->pool);
  self_of(object)->block.~shared_ptr();
  type->tp_free(object);
  Py_DECREF(type);
}

int buffer_get(PyObject* object, Py_buffer* view, int flags) {
  const BufferObject* const self = self_of(object);
  return PyBuffer_FillInfo(view, object, self->block->data, static_cast<Py_ssize_t>(self->block->bytes), self->readonly,
                           flags);
}

Py_ssize_t buffer_length(PyObject* object) { return static_cast<Py_ssize_t>(self_of(object)->block->bytes); }

PyObject* buffer_repr(PyObject* object) {
  const BufferObject* const self = self_of(object);
  return PyUnicode_FromFormat("<PoolBuffer of %zu bytes%s>", self->block->bytes, self->readonly ? ", read-only" : "");
}

PyObject* buffer_readonly(PyObject* object, void*) { return PyBool_FromLong(self_of(object)->readonly); }
PyObject* buffer_nbytes(PyObject* object, void*) { return PyLong_FromSsize_t(buffer_length(object)); }

PyObject* buffer_toreadonly(PyObject* object, PyObject*) {
  BufferObject* const self = self_of(object);
  return make_buffer(self->pool, self->block, true);
}

PyObject* buffer_device(PyObject*, PyObject*) { return Py_BuildValue("ii", dlpack::kCpu, 0); }

// A managed tensor with what it needs to live.
template <class Managed>
struct Export {
  Managed managed{};
  std::int64_t shape[1] = {0};
  std::int64_t strides[1] = {1};
  std::shared_ptr<SharedBlock> block;

  static void free(Managed* self) { delete static_cast<Export*>(self->context); }
  // Of a capsule that nobody has consumed; a consumer renames it.
  static void drop(PyObject* capsule) {
    if (PyCapsule_IsValid(capsule, Managed::kName) == 0) return;
    auto* const managed = static_cast<Managed*>(PyCapsule_GetPointer(capsule, Managed::kName));
    managed->deleter(managed);
  }
};

template <class Managed>
PyObject* export_block(std::shared_ptr<SharedBlock> block, std::uint64_t flags) {
  auto* const made = new Export<Managed>;
  made->shape[0] = static_cast<std::int64_t>(block->bytes);
  made->managed.tensor = {.data = block->data,
                          .device = {dlpack::kCpu, 0},
                          .dimensions = 1,
                          .dtype = {dlpack::kUnsigned, 8, 1},
                          .shape = made->shape,
                          .strides = made->strides,
                          .byte_offset = 0};
  made->managed.context = made;
  made->managed.deleter = &Export<Managed>::free;
  if constexpr (requires { made->managed.flags; }) {
    made->managed.major = 1;
    made->managed.minor = 0;
    made->managed.flags = flags;
  }
  made->block = std::move(block);
  PyObject* const capsule = PyCapsule_New(&made->managed, Managed::kName, &Export<Managed>::drop);
  if (capsule == nullptr) delete made;
  return capsule;
}

// 1 the CPU, 0 another device, -1 exception set.
int is_cpu(PyObject* device) {
  if (device == Py_None) return 1;
  int type = 0;
  int id = 0;
  if (!PyTuple_Check(device)) {
    return PyErr_Format(PyExc_TypeError, "__dlpack__: dl_device must be a tuple (type, id) or None, got %R", device),
           -1;
  }
  if (!PyArg_ParseTuple(device, "ii:dl_device", &type, &id)) return -1;
  return type == dlpack::kCpu && id == 0 ? 1 : 0;
}

// Does a consumer that knows DLPack up to this version take the one with a version? -1: exception set.
int takes_versioned(PyObject* max_version) {
  if (max_version == Py_None) return 0;
  int major = 0;
  int minor = 0;
  if (!PyTuple_Check(max_version)) {
    return PyErr_Format(PyExc_TypeError, "__dlpack__: max_version must be a tuple (major, minor) or None, got %R",
                        max_version),
           -1;
  }
  if (!PyArg_ParseTuple(max_version, "ii:max_version", &major, &minor)) return -1;
  return major >= 1 ? 1 : 0;
}

PyObject* buffer_dlpack(PyObject* object, PyObject* args, PyObject* kwargs) {
  static const char* keywords[] = {"stream", "max_version", "dl_device", "copy", nullptr};
  PyObject* stream = Py_None;
  PyObject* max_version = Py_None;
  PyObject* device = Py_None;
  PyObject* copy = Py_None;
  if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|$OOOO:__dlpack__", const_cast<char**>(keywords), &stream,
                                   &max_version, &device, &copy)) {
    return nullptr;
  }
  if (stream != Py_None) {
    return PyErr_Format(PyExc_RuntimeError, "__dlpack__: memory of the CPU has no streams; stream must be None, got %R",
                        stream);
  }
  const int here = is_cpu(device);
  const int versioned = here >= 0 ? takes_versioned(max_version) : -1;
  const int copied = copy == Py_None || versioned < 0 ? 0 : PyObject_IsTrue(copy);
  if (versioned < 0 || copied < 0) return nullptr;
  if (here == 0) {
    return PyErr_Format(PyExc_BufferError, "__dlpack__: this memory is on the CPU, (1, 0); dl_device=%R is not",
                        device);
  }
  BufferObject* const self = self_of(object);
  std::shared_ptr<SharedBlock> block = self->block;
  if (copied == 1) {
    if (self->pool == nullptr) return PyErr_SetString(PyExc_BufferError, "this buffer is being collected"), nullptr;
    if (!(block = take_shared(self->pool, block->bytes, Wish{}))) return nullptr;
    std::memcpy(block->data, self->block->data, block->bytes);
  }
  const bool readonly = self->readonly && copied == 0;
  if (versioned == 1) {
    const std::uint64_t flags = (readonly ? dlpack::kReadOnly : 0) | (copied == 1 ? dlpack::kIsCopied : 0);
    return export_block<dlpack::ManagedVersioned>(std::move(block), flags);
  }
  if (readonly) {
    PyErr_SetString(PyExc_BufferError,
                    "__dlpack__: this buffer is read-only, which a consumer without max_version=(1, 0) cannot be told; "
                    "pass copy=True, or a newer consumer");
    return nullptr;
  }
  return export_block<dlpack::Managed>(std::move(block), 0);
}

PyMethodDef buffer_methods[] = {
    {"toreadonly", guarded<buffer_toreadonly>, METH_NOARGS,
     "toreadonly($self)\n--\n\nReturn a buffer over the same bytes that nobody can write through."},
    {"__dlpack__", reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(guarded<buffer_dlpack>)),
     METH_VARARGS | METH_KEYWORDS,
     "__dlpack__($self, *, stream=None, max_version=None, dl_device=None, copy=None)\n--\n\n"
     "Return a DLPack capsule of one dimension of unsigned bytes."},
    {"__dlpack_device__", guarded<buffer_device>, METH_NOARGS, "__dlpack_device__($self)\n--\n\nThe CPU: (1, 0)."},
    {nullptr, nullptr, 0, nullptr},
};
PyGetSetDef buffer_getset[] = {
    {"nbytes", guarded<buffer_nbytes>, nullptr, "Its size in bytes.", nullptr},
    {"readonly", guarded<buffer_readonly>, nullptr, "Whether nobody can write through it.", nullptr},
    {nullptr, nullptr, nullptr, nullptr, nullptr},
};
PyType_Slot buffer_slots[] = {
    {Py_tp_dealloc, reinterpret_cast<void*>(guarded_dealloc<buffer_dealloc>)},
    {Py_tp_traverse, reinterpret_cast<void*>(buffer_traverse)},
    {Py_tp_clear, reinterpret_cast<void*>(buffer_clear)},
    {Py_tp_repr, reinterpret_cast<void*>(guarded<buffer_repr>)},
    {Py_sq_length, reinterpret_cast<void*>(guarded<buffer_length>)},
    {Py_bf_getbuffer, reinterpret_cast<void*>(guarded<buffer_get>)},
    {Py_tp_methods, buffer_methods},
    {Py_tp_getset, buffer_getset},
    {Py_tp_doc, const_cast<char*>("Bytes in a memory pool, by the buffer protocol and by DLPack.")},
    {0, nullptr},
};
PyType_Spec buffer_spec = {
    "tailrace._core.PoolBuffer", sizeof(BufferObject), 0,
    Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    buffer_slots};

}  // namespace

PyObject* pool_empty_bytes(PyObject* object, PyObject* const* args, Py_ssize_t given, PyObject* names) {
  PoolObject* const pool = reinterpret_cast<PoolObject*>(object);
  if (given != 1) {
    return PyErr_Format(PyExc_TypeError, "MemoryPool.empty_bytes takes the number of bytes, got %zd arguments", given);
  }
  const Py_ssize_t bytes = PyNumber_AsSsize_t(args[0], PyExc_OverflowError);
  if (bytes < 0) {
    const bool is_other = PyErr_Occurred() != nullptr && PyErr_ExceptionMatches(PyExc_OverflowError) == 0;
    PyErr_Clear();
    return PyErr_Format(is_other ? PyExc_TypeError : PyExc_ValueError,
                        "MemoryPool.empty_bytes: a size is an int of 0 or more bytes, got %R", args[0]);
  }
  Wish wish;
  for (Py_ssize_t i = 0; names != nullptr && i < PyTuple_GET_SIZE(names); ++i) {
    const int known = read_wish(pool, PyTuple_GET_ITEM(names, i), args[given + i], &wish);
    if (known < 0) return nullptr;
    if (known == 0) {
      return PyErr_Format(PyExc_TypeError,
                          "MemoryPool.empty_bytes got an unexpected argument %R; it takes tag, timeout_s, collect",
                          PyTuple_GET_ITEM(names, i));
    }
  }
  std::shared_ptr<SharedBlock> block = take_shared(object, static_cast<std::size_t>(bytes), wish);
  return block != nullptr ? make_buffer(object, std::move(block), false) : nullptr;
}

void bind_pool_buffer(PyObject* module) { buffer_type = add_type(module, buffer_spec); }

}  // namespace tailrace::bindings
