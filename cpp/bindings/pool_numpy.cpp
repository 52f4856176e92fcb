// pool_numpy.cpp -- a pool as NumPy's allocator (NEP 49): what arrays take inside `with pool.numpy()`.
//
// GIL       Held to make and to set a handler. What NumPy calls in it needs no GIL and touches nothing of Python's: it may
//           free while the interpreter ends.
// Lifetime  array -> its handler's capsule -> handler -> the pool's state. So an array goes back to the pool that it came from,
//           whatever handler is current then, and the pool stays until the last has.
#include <algorithm>
#include <cstring>

#include "pool_methods.hpp"
#include "pybind.hpp"

namespace tailrace::bindings {

namespace {

// NumPy keeps small arrays for reuse, and the C library is fast with those of this size: docs/measuring.md.
constexpr std::size_t kLeastBytes = (std::size_t{64} << 10) + 1;

struct PoolHandler {
  NumpyHandler numpy;  // first: the capsule points to it
  std::shared_ptr<PoolState> state;
  Tag* tag;
  const NumpyAllocator* rest;  // NumPy's own
};

PoolHandler& self_of(void* ctx) { return *static_cast<PoolHandler*>(ctx); }

void* handler_malloc(void* ctx, std::size_t bytes) {
  const PoolHandler& self = self_of(ctx);
  return bytes < kLeastBytes ? self.rest->malloc(self.rest->ctx, bytes) : self.state->take(bytes, self.tag);
}

void* handler_calloc(void* ctx, std::size_t count, std::size_t size) {
  const PoolHandler& self = self_of(ctx);
  std::size_t bytes = 0;
  if (__builtin_mul_overflow(count, size, &bytes)) return nullptr;
  if (bytes < kLeastBytes) return self.rest->calloc(self.rest->ctx, count, size);
  void* const block = self.state->take(bytes, self.tag);
  return block != nullptr ? std::memset(block, 0, bytes) : nullptr;
}

void handler_free(void* ctx, void* block, std::size_t bytes) {
  const PoolHandler& self = self_of(ctx);
  if (block == nullptr) return;
  if (self.state->pool.owns(block)) return self.state->give(block, self.tag);
  self.rest->free(self.rest->ctx, block, bytes);
}

void* handler_realloc(void* ctx, void* block, std::size_t bytes) {
  const PoolHandler& self = self_of(ctx);
  // How much a block of NumPy's own holds is not known, so it stays one.
  if (block != nullptr && !self.state->pool.owns(block)) return self.rest->realloc(self.rest->ctx, block, bytes);
  if (block == nullptr) return handler_malloc(ctx, bytes);
  const std::size_t held = self.state->pool.usable_bytes(block);
  if (bytes <= held && bytes > held / 2) return block;
  void* const moved = handler_malloc(ctx, bytes);
  if (moved == nullptr) return bytes <= held ? block : nullptr;
  std::memcpy(moved, block, std::min(held, bytes));
  self.state->give(block, self.tag);
  return moved;
}

void drop_handler(PyObject* capsule) {
  delete static_cast<PoolHandler*>(PyCapsule_GetPointer(capsule, kNumpyHandlerName));
}

}  // namespace

PyObject* pool_numpy_handler(PyObject* object, PyObject* tag_name) {
  PoolObject* const pool = reinterpret_cast<PoolObject*>(object);
  const NumpyApi* const api = numpy_api();
  Tag* tag = nullptr;
  if (api == nullptr || (tag_name != Py_None && !find_tag(pool, tag_name, &tag))) return nullptr;
  auto* const handler =
      new PoolHandler{.numpy = {.name = "tailrace",
                                .version = 1,
                                .allocator = {nullptr, handler_malloc, handler_calloc, handler_realloc, handler_free}},
                      .state = pool->state,
                      .tag = tag,
                      .rest = api->default_allocator};
  handler->numpy.allocator.ctx = handler;
  PyObject* const capsule = PyCapsule_New(handler, kNumpyHandlerName, drop_handler);
  if (capsule == nullptr) delete handler;
  return capsule;
}

PyObject* set_numpy_handler(PyObject*, PyObject* capsule) {
  const NumpyApi* const api = numpy_api();
  return api != nullptr ? api->set_handler(capsule) : nullptr;
}

}  // namespace tailrace::bindings
