// numpy_api.hpp -- the few functions of NumPy's C interface that pools use, found when they are first needed.
//
// What      `numpy_api()`: pointers out of NumPy's own table, by index.
// Why       `import tailrace` must not import NumPy, and the wheel must fit every NumPy from 1.26 on. The indices are the
//           stable part of NumPy's binary interface; its headers would add a build dependency for seven of them.
// Threads   Under the GIL. What it returns is constant and lives as long as the process.
// Source    numpy/_core/include/numpy/__multiarray_api.h and ndarraytypes.h, the same in 1.22 to 2.5; NEP 49 (Picus, 2021).
// Checked   tests/python/test_memory_pool_numpy.py compares the indices with the headers of the NumPy that is installed.
#pragma once

#include "bindings.hpp"

namespace tailrace::bindings {

// NEP 49: what NumPy calls to get and give back the memory of an array.
struct NumpyAllocator {
  void* ctx;
  void* (*malloc)(void* ctx, std::size_t bytes);
  void* (*calloc)(void* ctx, std::size_t count, std::size_t bytes);
  void* (*realloc)(void* ctx, void* block, std::size_t bytes);
  void (*free)(void* ctx, void* block, std::size_t bytes);
};

struct NumpyHandler {
  char name[127];
  std::uint8_t version;
  NumpyAllocator allocator;
};

inline constexpr char kNumpyHandlerName[] = "mem_handler";  // of the capsules that hold one
inline constexpr int kNumpyMaxDimensions = 64;  // 32 before NumPy 2
inline constexpr int kNumpyCArray = 0x0501;  // C-contiguous, aligned, writeable

struct NumpyApi {
  PyTypeObject* array_type;
  PyTypeObject* descr_type;
  int (*to_descr)(PyObject* given, PyObject** descr);
  // Steals `descr`.
  PyObject* (*new_array)(PyTypeObject* type, PyObject* descr, int n, const Py_ssize_t* shape, const Py_ssize_t* strides,
                         void* data, int flags, PyObject* like);
  int (*set_base)(PyObject* array, PyObject* base);  // steals `base`
  PyObject* (*set_handler)(PyObject* capsule);  // returns the one before; null stands for NumPy's own
  const NumpyAllocator* default_allocator;
};

// Null with an exception set where NumPy cannot be imported.
const NumpyApi* numpy_api();

}  // namespace tailrace::bindings
