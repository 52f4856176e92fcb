// gil_gate.hpp -- the GIL as a gate: one kept thread state for each worker.
//
// What      `GilKeeper` enters and leaves the GIL for workers; `Attached` does it for the blocking lane and the watch.
// Why       A Python call through a fresh thread state costs 7.7 us, through a kept one 0.05 us, and only a kept one
//           keeps threading.local. pybind11's own guards abort the process when a thread is ended inside them at exit.
// Threads   Each function acts on the calling thread. None is noexcept: CPython ends threads by unwinding them.
#pragma once

#include "bindings.hpp"
#include "gil_probe.hpp"
#include "tailrace/base/atomic.hpp"
#include "tailrace/sched/gate_keeper.hpp"
#include "tailrace/sched/worker.hpp"

namespace tailrace::bindings {

// Threads that are not workers and run short bodies under the GIL: a worker that comes in while one is at it lets it
// finish, since two that take turns at every small GIL release (each NumPy call) cost more than both in a row.
// Every field but `left` is read and written under the GIL, and `left` is only slept on: nothing here is lock-free, and
// tests/python/test_guests.py tries it as a property.
struct GuestRoom {
  int busy = 0;                       // under the GIL
  bool awaited = false;               // a worker waits for `busy` to fall to zero
  base::atomic<std::uint32_t> left{0};  // bumped when it does

  void enter() noexcept { ++busy; }
  void leave() noexcept;
};

class GilKeeper final : public sched::GateKeeper {
 public:
  explicit GilKeeper(PyInterpreterState* interpreter) : interpreter_{interpreter} {}

  void worker_started(sched::Worker& worker) override;
  void worker_stopping(sched::Worker& worker) override;
  void enter(sched::Worker& worker) override;
  void leave(sched::Worker& worker) override;
  sched::ThreadHooks thread_hooks() override;
  // On a thread that has the GIL while a body is probed: looks whether that body asks for it.
  void look();

  GuestRoom guests;
  GilProbe probe;

 private:
  PyInterpreterState* interpreter_;
};

// Before a body: has another one to be looked at? True when that took its time.
bool look_at_probe(GilKeeper& keeper);

extern thread_local sched::Worker* this_worker;  // null on a thread that is not a worker's

// On a thread made with GilKeeper::thread_hooks: takes and lets go of the GIL.
void attach_thread();
void detach_thread();

// Waits by `wait_once(timeout_ns)` -> bool, without the GIL, until it is true or `deadline_ns` (monotonic) has passed.
// On the main thread it lets signal handlers run every 50 ms; -1 with an exception set when one raised, else 0 or 1.
template <class WaitOnce>
int wait_without_gil(std::int64_t deadline_ns, WaitOnce&& wait_once);

// The thread that signal handlers run on. `find`: when the module loads, and in the child of a fork. Not a static set at
// first use: Python code runs to find it, and another thread would wait for the static with the GIL held.
void find_main_thread();
bool on_main_thread();

}  // namespace tailrace::bindings

#include "tailrace/base/clock.hpp"

namespace tailrace::bindings {

template <class WaitOnce>
int wait_without_gil(std::int64_t deadline_ns, WaitOnce&& wait_once) {
  constexpr std::int64_t kSliceNs = 50'000'000;
  const bool main = on_main_thread();
  for (;;) {
    std::int64_t left = -1;
    if (deadline_ns != base::kNever && (left = deadline_ns - base::monotonic_ns()) <= 0) return wait_once(0) ? 1 : 0;
    if (main && (left < 0 || left > kSliceNs)) left = kSliceNs;
    PyThreadState* state = PyEval_SaveThread();
    const bool done = wait_once(left);
    PyEval_RestoreThread(state);
    if (done) return 1;
    if (PyErr_CheckSignals() != 0) return -1;
  }
}

}  // namespace tailrace::bindings
