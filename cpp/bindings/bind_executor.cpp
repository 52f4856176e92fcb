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
  PyObject* initializer = nullptr;  // may lead back to the executor, so the collector sees it
  PyObject* begin = nullptr;        // leads nowhere; kept until every thread has called it
  std::int64_t begun = 0;           // threads that have
  bool orphaned = false;            // the object is gone
  bool broken = false;
  bool cancelled = false;  // shut down, and what has not begun is not wanted
  std::uint64_t submitted = 0;
  int max_workers = 0;

  void drop_begin() {
    if (orphaned && begun == lane->statistics().peak) Py_CLEAR(begin);
  }
};

struct ExecutorObject {
  PyObject_HEAD
  PyObject* name;
  PyObject* weakrefs;
  ExecutorState* state;
  bool closed;
};

thread_local sched::BlockingLane* this_lane = nullptr;

bool is_broken(PyObject* executor) noexcept { return reinterpret_cast<ExecutorObject*>(executor)->state->broken; }

void set_broken() {
  const Ref module = Ref::steal(PyImport_ImportModule("concurrent.futures.thread"));
  const Ref broken = Ref::steal(module ? PyObject_GetAttrString(module.get(), "BrokenThreadPool") : nullptr);
  if (broken) {
    PyErr_SetString(broken.get(), "A thread initializer failed, the thread pool is not usable anymore");
  }
}

namespace {

ExecutorObject* self_of(PyObject* object) { return reinterpret_cast<ExecutorObject*>(object); }

constexpr std::int64_t kKeepIdleNs = 8'640'000'000'000'000;  // 100 days: they stay as long as their executor

thread_local PyObject* this_entry = nullptr;  // what `begin` returned on this thread, one of Executor._threads

// On a new thread: its entry, then the user's initializer. When that fails, the executor is broken from now on.
void begin_thread(ExecutorState* state) {
  this_lane = state->lane.get();
  attach_thread();
  this_entry = outside([&] { return PyObject_CallNoArgs(state->begin); });
  if (this_entry == nullptr) PyErr_WriteUnraisable(state->begin);
  ++state->begun;
  state->drop_begin();
  if (state->initializer != nullptr) {  // null: no work is left, and nobody to bring more
    const Ref initializer = Ref::borrow(state->initializer);
    const Ref fine = Ref::steal(outside([&] { return PyObject_CallNoArgs(initializer.get()); }));
    if (!fine) PyErr_WriteUnraisable(initializer.get());
    if (fine.get() != Py_True) {
      state->broken = true;
      state->lane->stop_begin(true);
    }
  }
  detach_thread();
}

void end_thread() {
  if (this_entry == nullptr) return;
  attach_thread();
  {  // no reference may outlive the hold of the GIL
    const Ref entry = Ref::steal(std::exchange(this_entry, nullptr));
    const Ref ended = Ref::steal(outside([&] { return PyObject_CallMethod(entry.get(), "end", nullptr); }));
    if (!ended) PyErr_WriteUnraisable(entry.get());
  }
  detach_thread();
}

ExecutorState* make_state(const char* name, int max_workers, PyObject* begin, PyObject* initializer) {
  auto* state = new ExecutorState;
  state->max_workers = max_workers;
  state->begin = Py_NewRef(begin);
  state->initializer = Py_XNewRef(initializer);
  sched::ThreadHooks hooks_of_threads = GilKeeper{PyInterpreterState_Get()}.thread_hooks();
  const auto start = hooks_of_threads.on_start;
  const auto stop = hooks_of_threads.on_stop;
  hooks_of_threads.on_start = [start, state] {
    start();
    begin_thread(state);
  };
  hooks_of_threads.on_stop = [stop] {
    end_thread();
    stop();
  };
  state->lane = std::make_unique<sched::BlockingLane>(name, max_workers, std::move(hooks_of_threads), kKeepIdleNs);
  return state;
}

int executor_init(PyObject* object, PyObject* args, PyObject* kwargs) {
  static const char* keywords[] = {"name", "max_workers", "begin", "initializer", nullptr};
  PyObject* name = nullptr;
  PyObject* begin = nullptr;
  PyObject* initializer = nullptr;
  int max_workers = 0;
  if (!PyArg_ParseTupleAndKeywords(args, kwargs, "UiOO:ExecutorCore", const_cast<char**>(keywords), &name, &max_workers,
                                   &begin, &initializer)) {
    return -1;
  }
  if (max_workers < 1) return PyErr_Format(PyExc_ValueError, "max_workers must be at least 1, got %d", max_workers), -1;
  const char* utf8 = PyUnicode_AsUTF8(name);
  if (utf8 == nullptr) return -1;
  ExecutorObject* self = self_of(object);
  if (self->state != nullptr) return PyErr_SetString(PyExc_RuntimeError, "an executor is set up once"), -1;
  self->name = Py_NewRef(name);
  self->state = make_state(utf8, max_workers, begin, initializer != Py_None ? initializer : nullptr);
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
    state->orphaned = true;
    state->drop_begin();
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
  if (self->state->broken) return set_broken(), false;
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
  if (self->state->lane->submit(&f->item)) return reinterpret_cast<PyObject*>(f);
  f->item.complete(base::Outcome::kCancelled);
  Py_DECREF(f);
  return PyErr_SetString(PyExc_RuntimeError, "can't start new thread: the system has none left"), nullptr;
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
  if (this_lane == &lane) {
    PyErr_SetString(PyExc_RuntimeError,
                    "cannot join current thread: a task cannot wait for its own executor to end; shutdown(wait=False)");
    return nullptr;
  }
  const std::int64_t deadline = timeout_s < 0 || timeout_s > 9e9
                                    ? base::kNever
                                    : base::monotonic_ns() + static_cast<std::int64_t>(timeout_s * 1e9);
  const int all = wait_without_gil(deadline, [&lane](std::int64_t left_ns) {
    return lane.stop_wait(left_ns < 0 ? base::kNever : base::monotonic_ns() + left_ns);
  });
  return all < 0 ? nullptr : PyBool_FromLong(all);
}

// After a fork the child has none of the threads: what belonged to them is left as it is, and the next task makes new
// ones.
PyObject* executor_abandon(PyObject* object, PyObject*) {
  ExecutorObject* self = self_of(object);
  ExecutorState* old = self->state;
  self->state = make_state(PyUnicode_AsUTF8(self->name), old->max_workers, old->begin, old->initializer);
  self->state->submitted = old->submitted;
  self->state->broken = old->broken;
  Py_RETURN_NONE;
}

PyObject* executor_statistics(PyObject* object, PyObject*) {
  const auto s = self_of(object)->state->lane->statistics();
  return Py_BuildValue("{s:K,s:L,s:L,s:L,s:L,s:N}", "submitted",
                       static_cast<unsigned long long>(self_of(object)->state->submitted), "threads",
                       static_cast<long long>(s.threads), "idle", static_cast<long long>(s.idle), "queued",
                       static_cast<long long>(s.queued), "peak", static_cast<long long>(s.peak), "broken",
                       PyBool_FromLong(self_of(object)->state->broken));
}

PyMethodDef executor_methods[] = {
    {"submit", reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(guarded<executor_submit>)),
     METH_FASTCALL | METH_KEYWORDS,
     "submit($self, fn, /, *args, **kwargs)\n--\n\nRun fn(*args, **kwargs) on a thread and return its future."},
    {"map_raw", guarded<executor_map>, METH_VARARGS,
     "map_raw($self, fn, single, items, source, deadline_s, /)\n--\n\nRun fn on all items; the results, in order."},
    {"shutdown_raw", guarded<executor_shutdown>, METH_VARARGS,
     "shutdown_raw($self, cancel, timeout_s, /)\n--\n\nRefuse new work, end the threads; True when all have ended."},
    {"abandon_raw", guarded<executor_abandon>, METH_NOARGS, "Forget the threads: a fork has left them behind."},
    {"statistics_raw", guarded<executor_statistics>, METH_NOARGS, "Threads and queue, as a dictionary."},
    {nullptr, nullptr, 0, nullptr},
};
PyMemberDef executor_members[] = {
    {"closed", T_BOOL, offsetof(ExecutorObject, closed), READONLY, "Whether it refuses new work."},
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
