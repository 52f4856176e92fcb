#include "gil_gate.hpp"

#include <pthread.h>

namespace tailrace::bindings {

namespace {

thread_local PyThreadState* kept_state = nullptr;

void end_state(PyThreadState* state) {
  PyEval_RestoreThread(state);
  PyThreadState_Clear(state);
  PyThreadState_DeleteCurrent();
}

}  // namespace

void GilKeeper::worker_started(sched::Worker& worker) { worker.keeper_state = PyThreadState_New(interpreter_); }

void GilKeeper::worker_stopping(sched::Worker& worker) {
  end_state(static_cast<PyThreadState*>(worker.keeper_state));
  worker.keeper_state = nullptr;
}

void GilKeeper::enter(sched::Worker& worker) { PyEval_RestoreThread(static_cast<PyThreadState*>(worker.keeper_state)); }

void GilKeeper::leave(sched::Worker& worker) { worker.keeper_state = PyEval_SaveThread(); }

sched::ThreadHooks GilKeeper::thread_hooks() {
  return {[interpreter = interpreter_] { kept_state = PyThreadState_New(interpreter); }, [] { end_state(kept_state); }};
}

void attach_thread() { PyEval_RestoreThread(kept_state); }

void detach_thread() { kept_state = PyEval_SaveThread(); }

bool on_main_thread() {
  static const unsigned long main_ident = [] {
    const py::object thread = py::module_::import("threading").attr("main_thread")();
    return thread.attr("ident").cast<unsigned long>();
  }();
  return PyThread_get_thread_ident() == main_ident;
}

}  // namespace tailrace::bindings
