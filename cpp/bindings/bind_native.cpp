// bind_native.cpp -- `_core.Payload`, the block of a native step, and the calls that Python makes on it.
//
// Lifetime  A Payload owns its memory and exports it as a buffer: it lives as long as a NumPy view of it does, and the
//           memory then waits for the next payload of its size.
// GIL       call_native lets go of it around the function unless the step holds it.
#include <bit>
#include <cstring>
#include <mutex>
#include <new>
#include <vector>

#include "bindings.hpp"
#include "native_step.hpp"
#include "pybind.hpp"
#include "step.hpp"

namespace tailrace::bindings {

PyTypeObject* payload_type = nullptr;

namespace {

constexpr std::size_t kAlign = 64;
constexpr std::size_t kLeastBytes = 64;
constexpr std::size_t kMostKept = std::size_t{1} << 16;      // larger ones go back to the system
constexpr std::size_t kKeptPerClass = std::size_t{1} << 18;  // bytes
constexpr int kClasses = std::countr_zero(kMostKept) - std::countr_zero(kLeastBytes) + 1;

// A lock that is only tried: a thread that holds it may be descheduled, or may not exist in the child of a fork.
struct SizeClass {
  std::mutex mutex;
  std::vector<void*> free;
};

SizeClass* size_classes() {
  static auto* const classes = new std::array<SizeClass, kClasses>;  // never destroyed: threads may outlive the exit
  return classes->data();
}

std::size_t rounded(std::size_t bytes) noexcept { return std::bit_ceil(bytes < kLeastBytes ? kLeastBytes : bytes); }
SizeClass& class_of(std::size_t size) { return size_classes()[std::countr_zero(size) - std::countr_zero(kLeastBytes)]; }

PayloadObject* self_of(PyObject* object) { return reinterpret_cast<PayloadObject*>(object); }

PyObject* payload_new(PyTypeObject*, PyObject* args, PyObject* kwargs) {
  static const char* keywords[] = {"nbytes", nullptr};
  Py_ssize_t bytes = 0;
  if (!PyArg_ParseTupleAndKeywords(args, kwargs, "n:Payload", const_cast<char**>(keywords), &bytes)) return nullptr;
  if (bytes < 1) return PyErr_Format(PyExc_ValueError, "a payload has at least one byte, got %zd", bytes);
  return make_payload(static_cast<std::size_t>(bytes));
}

void payload_dealloc(PyObject* object) {
  PyTypeObject* type = Py_TYPE(object);
  give_payload_memory(self_of(object)->memory, self_of(object)->bytes);
  type->tp_free(object);
  Py_DECREF(type);
}

int payload_buffer(PyObject* object, Py_buffer* view, int flags) {
  PayloadObject* self = self_of(object);
  return PyBuffer_FillInfo(view, object, self->memory, static_cast<Py_ssize_t>(self->bytes), 0, flags);
}

PyObject* payload_copy(PyObject* object, PyObject*) {
  PyObject* copy = make_payload(self_of(object)->bytes);
  if (copy != nullptr) std::memcpy(self_of(copy)->memory, self_of(object)->memory, self_of(object)->bytes);
  return copy;
}

PyObject* payload_address(PyObject* object, void*) { return PyLong_FromVoidPtr(self_of(object)->memory); }

PyMethodDef payload_methods[] = {
    {"copy", guarded<payload_copy>, METH_NOARGS, "Another payload with the same bytes."},
    {nullptr, nullptr, 0, nullptr},
};
PyGetSetDef payload_getset[] = {
    {"address", guarded<payload_address>, nullptr, "Where the bytes lie.", nullptr},
    {nullptr, nullptr, nullptr, nullptr, nullptr},
};
PyType_Slot payload_slots[] = {
    {Py_tp_new, reinterpret_cast<void*>(guarded<payload_new>)},
    {Py_tp_dealloc, reinterpret_cast<void*>(guarded_dealloc<payload_dealloc>)},
    {Py_bf_getbuffer, reinterpret_cast<void*>(guarded<payload_buffer>)},
    {Py_tp_methods, payload_methods},
    {Py_tp_getset, payload_getset},
    {Py_tp_doc, const_cast<char*>("The bytes that a native step works on.")},
    {0, nullptr},
};
PyType_Spec payload_spec = {"tailrace._core.Payload", sizeof(PayloadObject), 0,
                            Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE, payload_slots};

StepObject& step_of(const py::object& given) {
  if (!PyObject_TypeCheck(given.ptr(), step_type)) throw py::type_error("expected a _core.Step");
  return *reinterpret_cast<StepObject*>(given.ptr());
}

void set_native(const py::object& step, std::uintptr_t address, std::size_t bytes, int gil) {
  StepObject& self = step_of(step);
  if (address == 0 || bytes == 0 || gil < 0 || gil > 2 || self.native != nullptr ||
      self.kind != static_cast<int>(StepKind::kSync)) {
    throw py::value_error("a native step is a sync step that is given, once, an address, a size and a gil mode");
  }
  self.native = new NativeCall{reinterpret_cast<NativeFunction>(address), bytes, static_cast<NativeGil>(gil)};
}

// Outside of plans. Raises when the function says that it failed.
void call_native(const py::object& step, const py::object& payload) {
  const StepObject& self = step_of(step);
  if (self.native == nullptr || !Py_IS_TYPE(payload.ptr(), payload_type) ||
      self_of(payload.ptr())->bytes != self.native->payload_bytes) {
    throw py::type_error("call_native needs a native step and a payload of its size");
  }
  const NativeCall call = *self.native;
  void* const memory = self_of(payload.ptr())->memory;
  std::int64_t status = 0;
  if (call.gil == NativeGil::kHolds) {
    status = call.function(memory);
  } else {
    PyThreadState* const state = PyEval_SaveThread();
    status = call.function(memory);
    PyEval_RestoreThread(state);
  }
  if (status != 0) return;
  raise_native_failure(self.name);
  throw py::error_already_set();
}

}  // namespace

void* take_payload_memory(std::size_t bytes) {
  const std::size_t size = rounded(bytes);
  if (size <= kMostKept) {
    SizeClass& kept = class_of(size);
    const std::unique_lock lock{kept.mutex, std::try_to_lock};
    if (lock.owns_lock() && !kept.free.empty()) {
      void* const memory = kept.free.back();
      kept.free.pop_back();
      return memory;
    }
  }
  return ::operator new(size, std::align_val_t{kAlign}, std::nothrow);
}

void give_payload_memory(void* memory, std::size_t bytes) noexcept {
  const std::size_t size = rounded(bytes);
  if (memory != nullptr && size <= kMostKept) {
    SizeClass& kept = class_of(size);
    const std::unique_lock lock{kept.mutex, std::try_to_lock};
    if (lock.owns_lock() && (kept.free.size() + 1) * size <= kKeptPerClass) {
      try {
        return kept.free.push_back(memory);
      } catch (const std::bad_alloc&) {  // then it is not kept
      }
    }
  }
  ::operator delete(memory, std::align_val_t{kAlign});
}

PyObject* adopt_payload(void* memory, std::size_t bytes) {
  PyObject* object = memory != nullptr ? payload_type->tp_alloc(payload_type, 0) : PyErr_NoMemory();
  if (object == nullptr) return give_payload_memory(memory, bytes), nullptr;
  self_of(object)->memory = memory;
  self_of(object)->bytes = bytes;
  return object;
}

PyObject* make_payload(std::size_t bytes) {
  void* const memory = take_payload_memory(bytes);
  if (memory != nullptr) std::memset(memory, 0, bytes);
  return adopt_payload(memory, bytes);
}

void raise_native_failure(PyObject* name) {
  PyErr_Format(PyExc_RuntimeError,
               "native step %R returned 0, which means that it failed; an exception inside a Numba cfunc is printed "
               "and returns 0 too: catch it there and write a code into the payload, and return 1 for success",
               name);
}

void bind_native(PyObject* module) {
  payload_type = add_type(module, payload_spec);
  py::module_ m = py::reinterpret_borrow<py::module_>(module);
  m.def("set_native", &set_native, py::arg("step"), py::arg("address"), py::arg("nbytes"), py::arg("gil"),
        py::pos_only(), "Make a sync step native: its body in a plan is int64 f(void*).");
  m.def("call_native", &call_native, py::arg("step"), py::arg("payload"), py::pos_only(),
        "Call a native step's function on a payload.");
}

}  // namespace tailrace::bindings
