// pool_shortage.cpp -- a block that was not to be had at once: collect garbage, wait, refuse with all that is known.
//
// GIL       Let go of while the thread waits for others to free.
// Lifetime  The caller holds the pool. What Python's collector runs may close it or free all of its blocks.
#include <poll.h>

#include <cmath>
#include <system_error>

#include "frame.hpp"
#include "free_signal.hpp"
#include "gil_gate.hpp"
#include "pool.hpp"
#include "runtime.hpp"
#include "tailrace/base/clock.hpp"

namespace tailrace::bindings {

namespace {

PyObject* import_from(const char* module, const char* name) {
  const Ref found = Ref::steal(PyImport_ImportModule(module));
  return found ? PyObject_GetAttrString(found.get(), name) : nullptr;
}

// The errors are made in Python, where their texts are.
void* refuse(PoolObject* pool, std::size_t bytes, const Wish& wish) {
  const Ref explain = Ref::steal(import_from("tailrace._pool_reports", "refusal"));
  if (!explain) return nullptr;
  const Ref error = Ref::steal(outside([&] {
    return PyObject_CallFunction(explain.get(), "OnOd", pool, static_cast<Py_ssize_t>(bytes),
                                 wish.tag_name != nullptr ? wish.tag_name : Py_None, wish.timeout_s);
  }));
  if (error) raise(error.get());
  return nullptr;
}

// 1 collected, 0 must not, -1 exception set.
int collect_garbage() {
  const Ref collect = Ref::steal(import_from("gc", "collect"));
  if (!collect) return -1;
  return Ref::steal(outside([&] { return PyObject_CallNoArgs(collect.get()); })) ? 1 : -1;
}

// Can it ever be given?
bool is_possible(const PoolObject* pool, std::size_t bytes, const Tag* tag) {
  // relaxed: a count
  return bytes <= pool->state->pool.options().limit_bytes &&
         (tag == nullptr || bytes <= tag->limit_bytes.load(base::relaxed));
}

// Nobody else runs there, so nobody would free.
bool may_wait() {
  const RuntimeObject* const runtime = top_frame != nullptr ? top_frame->runtime : nullptr;  // an Executor's has none
  return runtime == nullptr || (!runtime->is_virtual && !runtime->debug);
}

// Null when the time is over or the pool was closed, or with an exception set.
void* wait_for_block(const std::shared_ptr<PoolState>& state, std::size_t bytes, const Wish& wish) {
  const std::int64_t deadline_ns = base::after_s(base::monotonic_ns(), wish.timeout_s);
  FreeSignal signal{state};
  void* block = nullptr;
  if (top_frame != nullptr) top_frame->begin_wait();
  wait_without_gil(deadline_ns, [&](std::int64_t timeout_ns) {
    signal.arm();
    if ((block = state->take(bytes, wish.tag)) != nullptr || state->pool.closed()) return true;
    pollfd ready{.fd = signal.fd(), .events = POLLIN, .revents = 0};
    const timespec timeout{.tv_sec = timeout_ns / 1'000'000'000, .tv_nsec = timeout_ns % 1'000'000'000};
    if (ppoll(&ready, 1, timeout_ns < 0 ? nullptr : &timeout, nullptr) > 0) signal.drain();
    return false;
  });
  if (top_frame != nullptr) top_frame->end_wait();
  return block;
}

}  // namespace

void* take_block(PoolObject* pool, std::size_t bytes, const Wish& wish) {
  void* const block = pool->state->take(bytes, wish.tag);
  return block != nullptr ? block : relieve(pool, bytes, wish);
}

void* relieve(PoolObject* pool, std::size_t bytes, const Wish& wish) {
  const std::shared_ptr<PoolState> state = pool->state;
  const auto is_hopeless = [&] { return state->pool.closed() || !is_possible(pool, bytes, wish.tag); };
  if (is_hopeless()) return refuse(pool, bytes, wish);
  if (wish.only_try) return nullptr;
  if (wish.collect) {
    if (collect_garbage() < 0) return nullptr;
    if (void* const block = state->take(bytes, wish.tag)) return block;
  }
  if (wish.timeout_s > 0 && may_wait() && !is_hopeless()) {
    try {
      void* const block = wait_for_block(state, bytes, wish);
      if (block != nullptr || PyErr_Occurred() != nullptr) return block;
    } catch (const std::system_error&) {
      PyErr_SetString(PyExc_OSError, "no descriptor is left to wait for memory with");
      return nullptr;
    }
  }
  return refuse(pool, bytes, wish);
}

}  // namespace tailrace::bindings
