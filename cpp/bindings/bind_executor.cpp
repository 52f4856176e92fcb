// bind_executor.cpp -- `_core.ExecutorCore`: own threads, first in first out.
//
// GIL       shutdown lets go of it while it waits.
// Lifetime  Every queued task holds its executor; one that dies has an empty queue.
#include "bindings.hpp"

#include <structmember.h>

#include <memory>
#include <thread>

#include "future.hpp"
#include "gil_gate.hpp"
#include "map_job.hpp"
#include "tailrace/sched/blocking_lane.hpp"

namespace tailrace::bindings {

// Shared with the threads, which may outlive the object.
struct ExecutorState {
  std::unique_ptr<sched::BlockingLane> lane;
  PyObject* initializer = nullptr;
  int max_workers = 1;
  bool broken = false;
  bool cancelled = false;  // shut down, and what has not begun is not wanted
  std::uint64_t submitted = 0;
};

struct ExecutorObject {
  PyObject_HEAD
  PyObject* name;
  PyObject* weakrefs;
  ExecutorState* state;
  bool closed;
};

namespace {

ExecutorObject* self_of(PyObject* object) { return reinterpret_cast<ExecutorObject*>(object); }

// On a new thread: the user's initializer. When it fails, the executor is broken and says so from now on.
void initialize(ExecutorState* state) {
  if (state->initializer == nullptr) return;
  attach_thread();
  const Ref ignored = Ref::steal(outside([&] { return PyObject_CallNoArgs(state->initializer); }));
  if (!ignored) {
    PyErr_WriteUnraisable(state->initializer);
    state->broken = true;
    state->lane->stop_begin(true);
  }
  detach_thread();
}

int executor_init(PyObject* object, PyObject* args, PyObject* kwargs) {
  static const char* keywords[] = {"name", "max_workers", "initializer", nullptr};
  PyObject* name = nullptr;
  PyObject* initializer = nullptr;
  int max_workers = 0;
  if (!PyArg_ParseTupleAndKeywords(args, kwargs, "UiO:ExecutorCore", const_cast<char**>(keywords), &name, &max_workers,
                                   &initializer)) {
    return -1;
  }
  if (max_workers < 1) return PyErr_Format(PyExc_ValueError, "max_workers must be at least 1, got %d", max_workers), -1;
  const char* utf8 = PyUnicode_AsUTF8(name);
  if (utf8 == nullptr) return -1;
  ExecutorObject* self = self_of(object);
  if (self->state != nullptr) return PyErr_SetString(PyExc_RuntimeError, "an executor is set up once"), -1;
  auto* state = self->state = new ExecutorState;
  self->name = Py_NewRef(name);
  state->max_workers = max_workers;
  if (initializer != Py_None) state->initializer = Py_NewRef(initializer);
  sched::ThreadHooks hooks_of_threads = GilKeeper{PyInterpreterState_Get()}.thread_hooks();
  auto start = hooks_of_threads.on_start;
  hooks_of_threads.on_start = [start, state] {
    start();
    initialize(state);
  };
  state->lane = std::make_unique<sched::BlockingLane>(utf8, max_workers, std::move(hooks_of_threads));
  return 0;
}

int executor_traverse(PyObject* object, visitproc visit, void* arg) {
  Py_VISIT(Py_TYPE(object));
  if (self_of(object)->state != nullptr) Py_VISIT(self_of(object)->state->initializer);
  return 0;
}

int executor_clear(PyObject* object) {
  if (self_of(object)->state != nullptr) Py_CLEAR(self_of(object)->state->initializer);
  return 0;
}

void executor_dealloc(PyObject* object) {
  PyObject_GC_UnTrack(object);
  PyTypeObject* type = Py_TYPE(object);
  ExecutorObject* self = self_of(object);
  if (self->weakrefs != nullptr) PyObject_ClearWeakRefs(object);
  executor_clear(object);
  if (ExecutorState* state = std::exchange(self->state, nullptr)) {
    state->lane->stop_begin(false);
    if (state->lane->statistics().peak > 0) {  // also one on its way out takes the GIL, which we hold
      std::thread([state] { delete state; }).detach();
    } else {
      delete state;
    }
  }
  Py_CLEAR(self->name);
  type->tp_free(object);
  Py_DECREF(type);
}

// False with an exception set.
bool takes_work(ExecutorObject* self) {
  if (self->state == nullptr) return PyErr_SetString(PyExc_RuntimeError, "this executor was never set up"), false;
  if (self->state->broken) {
    const Ref module = Ref::steal(PyImport_ImportModule("concurrent.futures.thread"));
    const Ref broken = Ref::steal(module ? PyObject_GetAttrString(module.get(), "BrokenThreadPool") : nullptr);
    if (broken) PyErr_SetString(broken.get(), "a thread initializer failed, the executor is not usable anymore");
    return false;
  }
  if (self->closed) return PyErr_SetString(PyExc_RuntimeError, "cannot schedule new futures after shutdown"), false;
  return true;
}

PyObject* executor_submit(PyObject* object, PyObject* const* args, Py_ssize_t given, PyObject* kwnames) {
  ExecutorObject* self = self_of(object);
  if (given < 1 || !PyCallable_Check(args[0])) {
    return PyErr_Format(PyExc_TypeError, "submit(fn, *args, **kwargs) needs a callable first, got %R",
                        given < 1 ? Py_None : args[0]);
  }
  if (!takes_work(self)) return nullptr;
  FutureObject* f = make_task(args, given, kwnames);
  if (f == nullptr) return nullptr;
  f->executor = Py_NewRef(object);
  ++self->state->submitted;
  Py_INCREF(f);
  if (!self->state->lane->submit(&f->item)) f->item.complete(base::Outcome::kCancelled);
  return reinterpret_cast<PyObject*>(f);
}

PyObject* executor_map(PyObject* object, PyObject* args) {
  ExecutorObject* self = self_of(object);
  PyObject *fn = nullptr, *items = nullptr, *source = nullptr;
  int single = 0;
  double deadline_s = 0;
  if (!PyArg_ParseTuple(args, "OpO!Od:map_raw", &fn, &single, &PyList_Type, &items, &source, &deadline_s) ||
      !takes_work(self)) {
    return nullptr;
  }
  ExecutorState& state = *self->state;
  MapJob* job = MapJob::make(object, *state.lane, state.max_workers, state.cancelled, fn, single != 0, items,
                             source != Py_None ? source : nullptr);
  if (job == nullptr) return nullptr;
  state.submitted += job->filled();
  return make_map_iterator(job, base::after_s(0, deadline_s));
}

PyObject* executor_shutdown(PyObject* object, PyObject* args) {
  ExecutorObject* self = self_of(object);
  int cancel = 0;
  double timeout_s = 0;
  if (!PyArg_ParseTuple(args, "pd:shutdown_raw", &cancel, &timeout_s)) return nullptr;
  self->closed = true;
  sched::BlockingLane& lane = *self->state->lane;
  if (cancel != 0) self->state->cancelled = true;
  lane.stop_begin(cancel != 0);
  if (timeout_s == 0) return PyBool_FromLong(lane.statistics().threads == 0);
  const std::int64_t deadline = timeout_s < 0 || timeout_s > 9e9
                                    ? base::kNever
                                    : base::monotonic_ns() + static_cast<std::int64_t>(timeout_s * 1e9);
  PyThreadState* saved = PyEval_SaveThread();
  const bool all = lane.stop_wait(deadline);
  PyEval_RestoreThread(saved);
  return PyBool_FromLong(all);
}

PyObject* executor_abandon(PyObject* object, PyObject*) {
  ExecutorObject* self = self_of(object);
  self->closed = true;
  auto* left_behind = self->state;
  self->state = new ExecutorState;
  self->state->lane = std::make_unique<sched::BlockingLane>("abandoned", 1, sched::ThreadHooks{});
  self->state->submitted = left_behind->submitted;
  Py_RETURN_NONE;
}

PyObject* executor_statistics(PyObject* object, PyObject*) {
  const auto s = self_of(object)->state->lane->statistics();
  return Py_BuildValue("{s:K,s:L,s:L,s:L,s:L}", "submitted",
                       static_cast<unsigned long long>(self_of(object)->state->submitted), "threads",
                       static_cast<long long>(s.threads), "idle", static_cast<long long>(s.idle), "queued",
                       static_cast<long long>(s.queued), "peak", static_cast<long long>(s.peak));
}

PyMethodDef executor_methods[] = {
    {"submit", reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(guarded<executor_submit>)),
     METH_FASTCALL | METH_KEYWORDS,
     "submit($self, fn, /, *args, **kwargs)\n--\n\nRun fn(*args, **kwargs) on a thread and return its future."},
    {"map_raw", guarded<executor_map>, METH_VARARGS,
     "map_raw($self, fn, single, items, source, deadline_s, /)\n--\n\nRun fn on all items; the results, in order."},
    {"shutdown_raw", guarded<executor_shutdown>, METH_VARARGS,
     "shutdown_raw($self, cancel, timeout_s, /)\n--\n\nRefuse new work, end the threads; True when all have ended."},
    {"abandon_raw", guarded<executor_abandon>, METH_NOARGS, "Forget the threads: they are not in this process."},
    {"statistics_raw", guarded<executor_statistics>, METH_NOARGS, "Threads and queue, as a dictionary."},
    {nullptr, nullptr, 0, nullptr},
};
PyMemberDef executor_members[] = {
    {"__weaklistoffset__", T_PYSSIZET, offsetof(ExecutorObject, weakrefs), READONLY, nullptr},
    {nullptr, 0, 0, 0, nullptr},
};
PyType_Slot executor_slots[] = {
    {Py_tp_init, reinterpret_cast<void*>(guarded<executor_init>)},
    {Py_tp_new, reinterpret_cast<void*>(PyType_GenericNew)},
    {Py_tp_dealloc, reinterpret_cast<void*>(guarded_dealloc<executor_dealloc>)},
    {Py_tp_traverse, reinterpret_cast<void*>(executor_traverse)},
    {Py_tp_clear, reinterpret_cast<void*>(executor_clear)},
    {Py_tp_methods, executor_methods},
    {Py_tp_members, executor_members},
    {Py_tp_doc, const_cast<char*>("Own threads, made on demand, first in first out.")},
    {0, nullptr},
};
PyType_Spec executor_spec = {"tailrace._core.ExecutorCore", sizeof(ExecutorObject), 0,
                             Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC, executor_slots};

}  // namespace

void bind_executor(PyObject* module) { add_type(module, executor_spec); }

}  // namespace tailrace::bindings
