#include "gil_gate.hpp"

#include <pthread.h>

#include "pybind.hpp"

namespace tailrace::bindings {

namespace {

thread_local PyThreadState* kept_state = nullptr;
thread_local bool is_named = false;
unsigned long main_ident = 0;

// Under the GIL, once a thread: logs and threading.enumerate() then say what the kernel says.
void name_this_thread() {
  if (is_named || hooks.name_thread == nullptr) return;
  is_named = true;
  char name[16] = {};
  pthread_getname_np(pthread_self(), name, sizeof name);
  const Ref ignored = Ref::steal(PyObject_CallFunction(hooks.name_thread, "s", name));
  if (!ignored) PyErr_WriteUnraisable(hooks.name_thread);
}

void forget_this_thread() {
  if (!is_named || interpreter_ends()) return;
  const Ref ignored = Ref::steal(PyObject_CallNoArgs(hooks.forget_thread));
  if (!ignored) PyErr_WriteUnraisable(hooks.forget_thread);
}

void end_state(PyThreadState* state) {
  PyEval_RestoreThread(state);
  forget_this_thread();
  PyThreadState_Clear(state);
  PyThreadState_DeleteCurrent();
}

}  // namespace

thread_local sched::Worker* this_worker = nullptr;

void GilKeeper::worker_started(sched::Worker& worker) {
  this_worker = &worker;
  worker.keeper_state = PyThreadState_New(interpreter_);
}

void GilKeeper::worker_stopping(sched::Worker& worker) {
  end_state(static_cast<PyThreadState*>(worker.keeper_state));
  worker.keeper_state = nullptr;
}

void GilKeeper::look() {
  probe.look([this](std::int64_t pause_ns) {
    PyThreadState* const state = PyEval_SaveThread();
    const std::int64_t until = base::monotonic_ns() + pause_ns;
    while (base::monotonic_ns() < until) base::pause();  // too short to sleep in
    probe.asks();
    PyEval_RestoreThread(state);
  });
}

bool look_at_probe(GilKeeper& keeper) {
  if (!keeper.probe.is_under_way() || keeper.probe.is_own()) return false;
  keeper.probe.asks();
  keeper.look();
  return true;
}

void GilKeeper::enter(sched::Worker& worker) {
  constexpr std::int64_t kPatienceNs = 5'000'000;  // CPython's switch interval: no guest keeps a worker out for longer
  const bool probes = probe.is_under_way();
  if (probes) probe.asks();
  PyEval_RestoreThread(static_cast<PyThreadState*>(worker.keeper_state));
  if (probes) look();
  if (!is_named) name_this_thread();
  enter_core();
  if (!kHasGil || guests.busy == 0) return;
  guests.awaited = true;
  const std::uint32_t seen = guests.left.load(base::relaxed);  // relaxed: both sides hold the GIL around it
  worker.keeper_state = PyEval_SaveThread();
  base::StdAtomics::park(guests.left, seen, kPatienceNs);
  PyEval_RestoreThread(static_cast<PyThreadState*>(worker.keeper_state));
  guests.awaited = false;
}

void GuestRoom::leave() noexcept {
  if (--busy > 0 || !awaited) return;
  left.fetch_add(1, base::relaxed);  // relaxed: the GIL carries what the guest did
  base::StdAtomics::unpark(left, 1);
}

void GilKeeper::leave(sched::Worker& worker) {
  leave_core();
  worker.keeper_state = PyEval_SaveThread();
}

sched::ThreadHooks GilKeeper::thread_hooks() {
  return {[interpreter = interpreter_] { kept_state = PyThreadState_New(interpreter); }, [] { end_state(kept_state); }};
}

void attach_thread() {
  PyEval_RestoreThread(kept_state);
  if (!is_named) name_this_thread();
  enter_core();
}

void detach_thread() {
  leave_core();
  kept_state = PyEval_SaveThread();
}

void find_main_thread() {
  const py::object thread = py::module_::import("threading").attr("main_thread")();
  main_ident = thread.attr("ident").cast<unsigned long>();
}

bool on_main_thread() { return PyThread_get_thread_ident() == main_ident; }

}  // namespace tailrace::bindings
