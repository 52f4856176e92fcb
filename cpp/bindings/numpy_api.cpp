// GIL       Held: NumPy is imported the first time.
// Lifetime  What is found stays: NumPy cannot be unloaded.
#include "numpy_api.hpp"

namespace tailrace::bindings {

namespace {

// Places in NumPy's table, fixed for good.
enum Index : std::size_t {
  kArrayType = 2,
  kDescrType = 3,
  kNewFromDescr = 94,
  kDescrConverter = 174,
  kFeatureVersion = 211,
  kSetBaseObject = 282,
  kSetHandler = 304,
  kDefaultHandler = 306,
};

constexpr unsigned kFirstVersionWithHandlers = 0x0f;  // NumPy 1.22

template <class T>
T at(void* const* table, Index index) {
  return reinterpret_cast<T>(table[index]);
}

void* const* find_table() {
  Ref module = Ref::steal(PyImport_ImportModule("numpy._core._multiarray_umath"));
  if (!module && PyErr_ExceptionMatches(PyExc_ModuleNotFoundError) != 0) {
    PyErr_Clear();
    module = Ref::steal(PyImport_ImportModule("numpy.core._multiarray_umath"));  // before NumPy 2
  }
  const Ref capsule = Ref::steal(module ? PyObject_GetAttrString(module.get(), "_ARRAY_API") : nullptr);
  return capsule ? static_cast<void* const*>(PyCapsule_GetPointer(capsule.get(), nullptr)) : nullptr;
}

bool load(NumpyApi* api) {
  void* const* const table = find_table();
  if (table == nullptr) return false;
  if (at<unsigned (*)()>(table, kFeatureVersion)() < kFirstVersionWithHandlers) {
    PyErr_SetString(PyExc_ImportError, "memory pools need NumPy 1.26 or later; run: pip install -U numpy");
    return false;
  }
  PyObject* const default_handler = *at<PyObject**>(table, kDefaultHandler);
  auto* const handler = static_cast<NumpyHandler*>(PyCapsule_GetPointer(default_handler, kNumpyHandlerName));
  if (handler == nullptr) return false;
  *api = {
      .array_type = at<PyTypeObject*>(table, kArrayType),
      .descr_type = at<PyTypeObject*>(table, kDescrType),
      .to_descr = at<decltype(NumpyApi::to_descr)>(table, kDescrConverter),
      .new_array = at<decltype(NumpyApi::new_array)>(table, kNewFromDescr),
      .set_base = at<decltype(NumpyApi::set_base)>(table, kSetBaseObject),
      .set_handler = at<decltype(NumpyApi::set_handler)>(table, kSetHandler),
      .default_allocator = &handler->allocator,
  };
  return true;
}

}  // namespace

const NumpyApi* numpy_api() {
  static NumpyApi api;
  static bool loaded = false;  // not a static's own guard: another thread would wait for it with the GIL held
  if (!loaded) {
    NumpyApi found;
    if (!load(&found)) return nullptr;
    api = found;
    loaded = true;
  }
  return &api;
}

}  // namespace tailrace::bindings
