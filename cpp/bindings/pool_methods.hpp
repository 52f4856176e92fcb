// pool_methods.hpp -- the methods of `_core.PoolCore` that have files of their own.
//
// What      Counts as dictionaries, tags, measuring; NumPy's handler; buffers.
// Why       bind_pool.cpp names them in one table.
// Threads   Under the GIL. The counts are others' own, read while they go on.
#pragma once

#include "pool.hpp"

namespace tailrace::bindings {

// pool_counts.cpp
PyObject* pool_statistics(PyObject* pool, PyObject*);
PyObject* run_memory(PyObject* module, PyObject*);
PyObject* pool_shortage(PyObject* pool, PyObject* wanted);
PyObject* pool_tag(PyObject* pool, PyObject* args);
PyObject* pool_open_scope(PyObject* pool, PyObject*);
PyObject* pool_read_scope(PyObject* pool, PyObject* scope);
PyObject* pool_close_scope(PyObject* pool, PyObject* scope);
PyObject* pool_start_trace(PyObject* pool, PyObject* path);
PyObject* pool_stop_trace(PyObject* pool, PyObject*);

// pool_numpy.cpp
PyObject* pool_numpy_handler(PyObject* pool, PyObject* tag);  // a capsule
PyObject* set_numpy_handler(PyObject*, PyObject* capsule);    // returns the one before

// bind_pool_buffer.cpp
PyObject* pool_empty_bytes(PyObject* pool, PyObject* const* args, Py_ssize_t given, PyObject* names);
void bind_pool_buffer(PyObject* module);

// bind_scratch.cpp
void bind_scratch(PyObject* module);

// bind_free_signal.cpp
void bind_free_signal(PyObject* module);

}  // namespace tailrace::bindings
