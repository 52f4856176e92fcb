// pool.hpp -- the C struct behind `_core.PoolCore`, and how its blocks become arrays.
//
// What      What the files of the pool's bindings share: the object, a wish for memory, an array over a block.
// Why       `pool.empty` is made for 250 ns: one call, one lookup of the dtype, one block, one owner, one array.
// Threads   Under the GIL. An array's block may be given back on any thread, at any time, also while Python ends.
// Checked   tests/python/test_memory_pool.py
#pragma once

#include <memory>

#include "bindings.hpp"
#include "numpy_api.hpp"
#include "pool_state.hpp"

namespace tailrace::bindings {

struct PoolObject {
  PyObject_HEAD
  std::shared_ptr<PoolState> state;
};

extern PyTypeObject* pool_type;

// How a caller asks for memory, beside its size.
struct Wish {
  PyObject* tag_name = nullptr;  // borrowed
  Tag* tag = nullptr;
  double timeout_s = -1;  // < 0: do not wait
  bool collect = true;    // let Python's collector look for forgotten arrays before the pool refuses
  bool only_try = false;  // null without an exception where waiting might help
};

// Reads `tag`, `timeout_s` and `collect`; 1 it was one of them, 0 it was not, -1 exception set.
int read_wish(PoolObject* pool, PyObject* name, PyObject* value, Wish* wish);

// Reads the arguments of a call that asks for an array: shape, dtype and what `read_wish` knows. `what` is the call in
// messages, `is_tagged` whether it takes a tag; false with an exception set.
struct ArrayCall {
  PyObject* shape = nullptr;
  PyObject* dtype = Py_None;
  Wish wish;
};
bool read_call(PoolObject* pool, const char* what, bool is_tagged, PyObject* const* args, Py_ssize_t given,
               PyObject* names, ArrayCall* call);

// A block of at least `bytes`; null with an exception set.
void* take_block(PoolObject* pool, std::size_t bytes, const Wish& wish);
// What take_block does when the first try has failed.
void* relieve(PoolObject* pool, std::size_t bytes, const Wish& wish);

// An array of `shape` and `dtype` over a block of its own.
PyObject* make_array(PoolObject* pool, PyObject* shape, PyObject* dtype, const Wish& wish, bool zeroed);

// Fills with zeros, without the GIL where that takes long.
void zero_block(void* block, std::size_t bytes);

// The tag of that name, made at its first use; false with an exception set.
bool find_tag(PoolObject* pool, PyObject* name, Tag** tag);

void bind_pool_array(PyObject* module);

}  // namespace tailrace::bindings
