// bind_runtime.cpp -- `_core.RuntimeCore`, the base of tailrace.Runtime.
//
// GIL       drain and stop let go of it while they wait. Nothing here takes a lock and then the GIL.
// Lifetime  Everything in flight holds its runtime, so one that dies is idle; its threads are joined by a reaper, as
//           a destructor must not wait.
#include "bindings.hpp"

#include <structmember.h>

#include <algorithm>
#include <cmath>
#include <stdexcept>
#include <thread>
#include <vector>

#include "future.hpp"
#include "pybind.hpp"
#include "run_block.hpp"
#include "runtime.hpp"
#include "stand_in.hpp"

namespace tailrace::bindings {

PyTypeObject* runtime_type = nullptr;

namespace {

RuntimeObject* self_of(PyObject* object) { return reinterpret_cast<RuntimeObject*>(object); }

// None: anywhere; a text: one CPU each; a sequence: those CPUs.
bool to_affinity(PyObject* given, sched::Affinity& affinity) {
  if (given == Py_None) return true;
  affinity = sched::Affinity::cores();
  if (PyUnicode_Check(given)) return true;
  affinity = sched::Affinity::list({});
  const Ref cpus = Ref::steal(PySequence_Tuple(given));
  for (Py_ssize_t i = 0; cpus && i < PyTuple_GET_SIZE(cpus.get()); ++i) {
    affinity.cpus.push_back(static_cast<int>(PyLong_AsLong(PyTuple_GET_ITEM(cpus.get(), i))));
  }
  return PyErr_Occurred() == nullptr;
}

int runtime_init(PyObject* object, PyObject* args, PyObject* kwargs) {
  static const char* keywords[] = {"name",         "workers", "max_workers", "affinity", "max_pending",
                                   "max_blocking", "seed",    "profile",     "debug",    nullptr};
  PyObject* name = nullptr;
  int workers = 0;
  int max_workers = 0;
  PyObject* affinity = nullptr;
  long long max_pending = 0;
  int max_blocking = 0;
  const char* profile = sched::name(sched::Profile::kBalanced);
  PyObject* seed = Py_None;
  int debug = 0;
  if (!PyArg_ParseTupleAndKeywords(args, kwargs, "UiiOLiO|sp:RuntimeCore", const_cast<char**>(keywords), &name,
                                   &workers, &max_workers, &affinity, &max_pending, &max_blocking, &seed, &profile,
                                   &debug)) {
    return -1;
  }
  RuntimeObject* self = self_of(object);
  if (self->state != nullptr) return PyErr_SetString(PyExc_RuntimeError, "a runtime is set up once"), -1;
  sched::SchedulerOptions options;
  const char* utf8 = PyUnicode_AsUTF8(name);
  if (utf8 == nullptr) return -1;
  options.name = utf8;
  options.workers = workers;
  options.max_workers = max_workers;
  if (!to_affinity(affinity, options.affinity)) return -1;
  options.max_blocking = max_blocking;
  options.is_virtual = seed != Py_None;
  if (options.is_virtual) options.seed = PyLong_AsUnsignedLongLongMask(seed);
  if (PyErr_Occurred() != nullptr) return -1;
  if (!sched::from_name(profile, options.profile)) {
    return PyErr_Format(PyExc_ValueError, "no profile is called %s", profile), -1;
  }
  try {
    self->state = new RuntimeState{PyInterpreterState_Get(), options};
  } catch (const std::exception& error) {
    return PyErr_SetString(PyExc_ValueError, error.what()), -1;
  }
  self->name = Py_NewRef(name);
  self->max_pending = max_pending;
  self->closed = false;
  self->is_virtual = options.is_virtual;
  self->debug = debug != 0;
  return 0;
}

int runtime_traverse(PyObject* object, visitproc visit, void* arg) {
  Py_VISIT(Py_TYPE(object));
  Py_VISIT(self_of(object)->memory_pool);
  if (self_of(object)->state != nullptr) Py_VISIT(self_of(object)->state->poll);
  return 0;
}

int runtime_clear(PyObject* object) {
  Py_CLEAR(self_of(object)->memory_pool);
  if (self_of(object)->state != nullptr) Py_CLEAR(self_of(object)->state->poll);
  return 0;
}

void runtime_dealloc(PyObject* object) {
  PyObject_GC_UnTrack(object);
  PyTypeObject* type = Py_TYPE(object);
  RuntimeObject* self = self_of(object);
  if (self->weakrefs != nullptr) PyObject_ClearWeakRefs(object);
  runtime_clear(object);
  if (RuntimeState* state = std::exchange(self->state, nullptr)) {
    if (!state->scheduler.stopping()) state->scheduler.stop_begin();
    if (state->scheduler.options().is_virtual) {
      delete state;
    } else {  // a thread of any kind (worker, blocking, watch) may have to take the GIL to end, and we hold it
      std::thread([state] { delete state; }).detach();
    }
  }
  Py_CLEAR(self->name);
  type->tp_free(object);
  Py_DECREF(type);
}

RuntimeObject* ready_self(PyObject* object) {
  RuntimeObject* self = self_of(object);
  if (self->state == nullptr) PyErr_SetString(PyExc_RuntimeError, "this runtime was never set up");
  return self->state != nullptr ? self : nullptr;
}

PyObject* runtime_submit(PyObject* object, PyObject* const* args, Py_ssize_t given, PyObject* kwnames) {
  RuntimeObject* self = ready_self(object);
  if (self == nullptr) return nullptr;
  if (given < 1 || !PyCallable_Check(args[0])) {
    return PyErr_Format(PyExc_TypeError, "submit(fn, *args, **kwargs) needs a callable first, got %R",
                        given < 1 ? Py_None : args[0]);
  }
  return submit_task(self, args, given, kwnames);
}

PyObject* runtime_statistics(PyObject* object, PyObject*) {
  RuntimeObject* self = ready_self(object);
  if (self == nullptr) return nullptr;
  const Ledger& ledger = self->state->ledger;
  py::dict d;
  const auto ended = [&](base::Outcome outcome) { return ledger.ended[static_cast<std::size_t>(outcome)]; };
  d["submitted"] = ledger.submitted;
  for (const auto outcome : {base::Outcome::kOk, base::Outcome::kFailed, base::Outcome::kCancelled,
                             base::Outcome::kRejected, base::Outcome::kTimedOut}) {
    d[base::name(outcome)] = ended(outcome);
  }
  d["in_flight"] = ledger.in_flight;
  d["profile"] = sched::name(self->state->scheduler.options().profile);
  d["late"] = ledger.late;
  d["nested"] = ledger.nested;
  std::int64_t queued = 0;
  for (const RunBlock* block = self->state->first_run; block != nullptr; block = block->next) {
    if (block->invited) ++queued;
  }
  d["queued"] = queued;
  add_scheduler_statistics(d.ptr(), self->scheduler().statistics());
  return d.release().ptr();
}

PyObject* runtime_stuck(PyObject* object, PyObject* after) {
  const double after_s = PyFloat_AsDouble(after);
  if (PyErr_Occurred() != nullptr) return nullptr;
  const std::int64_t now = base::monotonic_ns();
  struct Row {
    const char* thread;
    unsigned long ident;
    py::object workflow;
    py::object label;
    double seconds;
  };
  std::vector<Row> rows;  // first: to make an object may run finalizers, and frames come and go meanwhile
  for (const Frame* frame = all_frames; frame != nullptr; frame = frame->next) {
    const double seconds = static_cast<double>(now - frame->started_ns) * 1e-9;
    if (frame->runtime != self_of(object) || !frame->innermost || seconds < after_s) continue;
    PyObject* workflow = frame->block != nullptr ? frame->block->plan->name : nullptr;
    rows.push_back({frame->thread, frame->ident, py::reinterpret_borrow<py::object>(workflow),
                    py::reinterpret_borrow<py::object>(frame->label), seconds});
  }
  py::list list;
  for (const Row& row : rows) {
    const py::object workflow = row.workflow ? row.workflow : py::object(py::str("submit"));
    list.append(py::make_tuple(row.thread, row.ident, workflow, row.label, row.seconds));
  }
  return list.release().ptr();
}

PyObject* runtime_drain(PyObject* object, PyObject* timeout) {
  RuntimeObject* self = ready_self(object);
  const double timeout_s = PyFloat_AsDouble(timeout);
  if (self == nullptr || PyErr_Occurred() != nullptr) return nullptr;
  if (inside_step_of(self)) {
    const Ref here = Ref::steal(current_step());
    if (!here) return nullptr;
    return raise_hooked("drained_inside",
                        Py_BuildValue("{s:O,s:O,s:O}", "runtime", self->name, "workflow",
                                      PyTuple_GET_ITEM(here.get(), 0), "step", PyTuple_GET_ITEM(here.get(), 1))),
           nullptr;
  }
  RuntimeState& state = *self->state;
  const bool limited = timeout_s >= 0 && timeout_s < 9e9;
  const std::int64_t deadline = limited ? self->now_ns() + static_cast<std::int64_t>(timeout_s * 1e9) : base::kNever;
  if (self->is_virtual) {
    if (!drive_until(self, deadline, [&] { return state.live == 0; })) return nullptr;
    return PyBool_FromLong(state.live == 0);
  }
  while (state.live > 0) {
    const std::uint32_t seen = state.quiet.load(base::acquire);  // [Y2] acquire: pairs with [Y1]
    ++state.drainers;
    const int quiet = wait_without_gil(deadline, [&](std::int64_t timeout_ns) {
      base::StdAtomics::park(state.quiet, seen, timeout_ns);
      return state.quiet.load(base::acquire) != seen;  // [Y2] acquire: as above
    });
    --state.drainers;
    if (quiet < 0) return nullptr;
    if (quiet == 0) break;
  }
  return PyBool_FromLong(state.live == 0);
}

void cancel_all(RuntimeObject* self) {
  std::vector<RunBlock*> open;  // first: callbacks may change the list; nothing new is admitted any more
  for (RunBlock* block = self->state->first_run; block != nullptr; block = block->next) {
    if (block->done()) continue;
    block->run.retain();
    open.push_back(block);
  }
  for (RunBlock* block : open) {
    cancel_block(block);
    block->run.release();
  }
}

PyObject* runtime_stop(PyObject* object, PyObject* args) {
  RuntimeObject* self = ready_self(object);
  int cancel = 0;
  double timeout_s = 0;
  if (self == nullptr || !PyArg_ParseTuple(args, "pd:stop_raw", &cancel, &timeout_s)) return nullptr;
  self->closed = true;
  if (cancel != 0) cancel_all(self);
  sched::Scheduler& scheduler = self->scheduler();
  scheduler.stop_begin(cancel != 0);
  cancel_all(self);
  const std::int64_t deadline = timeout_s < 0 || timeout_s > 9e9
                                    ? base::kNever
                                    : base::monotonic_ns() + static_cast<std::int64_t>(timeout_s * 1e9);
  PyThreadState* saved = PyEval_SaveThread();
  const bool all = scheduler.stop_wait(deadline).ended();
  PyEval_RestoreThread(saved);
  return PyBool_FromLong(all);
}

// After a fork the child has none of the threads: nothing of the old state may be waited for, joined or freed. The next
// piece of work starts new ones.
PyObject* runtime_abandon(PyObject* object, PyObject*) {
  RuntimeObject* self = ready_self(object);
  if (self == nullptr) return nullptr;
  if (self->is_virtual) Py_RETURN_NONE;  // it has no threads, so all of it is here
  // Who asks for a run of the parent's is told that it is cancelled here. Its timer stands in the wheel that is left
  // behind, its callbacks and async steps belong to the parent's loops.
  RunBlock* next = nullptr;
  for (RunBlock* block = self->state->first_run; block != nullptr; block = next) {
    next = std::exchange(block->next, nullptr);
    block->previous = block;  // in no list: should it fire after all, it takes itself out of nothing
    block->armed = false;
    if (block->run.ending.fix(base::Outcome::kCancelled)) block->run.ending.announce();
  }
  sched::SchedulerOptions options = self->state->scheduler.options();
  options.workers = self->state->scheduler.worker_count();
  self->state = new RuntimeState{PyInterpreterState_Get(), options};
  Py_RETURN_NONE;
}

PyObject* runtime_virtual_now(PyObject* object, PyObject*) {
  RuntimeObject* self = ready_self(object);
  return self != nullptr ? PyFloat_FromDouble(static_cast<double>(self->now_ns()) * 1e-9) : nullptr;
}

PyObject* runtime_virtual_drive(PyObject* object, PyObject* until) {
  RuntimeObject* self = ready_self(object);
  const double until_s = PyFloat_AsDouble(until);
  if (self == nullptr || PyErr_Occurred() != nullptr) return nullptr;
  if (!self->is_virtual) return PyErr_Format(PyExc_RuntimeError, "only a runtime with a VirtualClock is driven");
  const std::int64_t limit = until_s < 9e9 ? static_cast<std::int64_t>(std::llround(until_s * 1e9)) : base::kNever;
  int did = 0;
  while ((did = drive_step(self, limit)) == 1) {
  }
  if (did == -1) return nullptr;
  return PyBool_FromLong(self->state->live == 0);
}

PyObject* runtime_virtual_poll(PyObject* object, PyObject* fn) {
  RuntimeObject* self = ready_self(object);
  if (self == nullptr) return nullptr;
  PyObject* old = std::exchange(self->state->poll, Py_NewRef(fn));
  Py_XDECREF(old);
  Py_RETURN_NONE;
}

PyObject* runtime_resize(PyObject* object, PyObject* wanted) {
  RuntimeObject* self = ready_self(object);
  const long workers = PyLong_AsLong(wanted);
  if (self == nullptr || PyErr_Occurred() != nullptr) return nullptr;
  const int before = self->scheduler().worker_count();
  try {
    self->scheduler().resize(static_cast<int>(std::clamp(workers, 0L, 1'000'000L)));
  } catch (const std::invalid_argument& error) {
    return PyErr_SetString(PyExc_ValueError, error.what()), nullptr;
  } catch (const std::logic_error&) {
    return raise_hooked("closed", Py_BuildValue("{s:O}", "runtime", self->name)), nullptr;
  }
  self->state->guest_slots += self->scheduler().worker_count() - before;  // as many guests as workers
  relieve(self);  // all that are left may be waiting
  Py_RETURN_NONE;
}

PyObject* runtime_max_workers(PyObject* object, void*) {
  RuntimeObject* self = ready_self(object);
  return self != nullptr ? PyLong_FromLong(self->scheduler().options().max_workers) : nullptr;
}

PyObject* runtime_workers(PyObject* object, void*) {
  RuntimeObject* self = ready_self(object);
  return self != nullptr ? PyLong_FromLong(self->scheduler().worker_count()) : nullptr;
}

PyMethodDef runtime_methods[] = {
    {"submit", reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(guarded<runtime_submit>)),
     METH_FASTCALL | METH_KEYWORDS,
     "submit($self, fn, /, *args, **kwargs)\n--\n\nRun fn(*args, **kwargs) on the runtime and return its future."},
    {"statistics_raw", guarded<runtime_statistics>, METH_NOARGS,
     "The ledger, the workers and the lanes, as a dictionary."},
    {"stuck_raw", guarded<runtime_stuck>, METH_O,
     "stuck_raw($self, after_s, /)\n--\n\nBodies that have run for so long."},
    {"resize_raw", guarded<runtime_resize>, METH_O,
     "resize_raw($self, workers, /)\n--\n\nChange the number of workers."},
    {"drain_raw", guarded<runtime_drain>, METH_O,
     "drain_raw($self, timeout_s, /)\n--\n\nWait until nothing is in flight."},
    {"stop_raw", guarded<runtime_stop>, METH_VARARGS,
     "stop_raw($self, cancel, timeout_s, /)\n--\n\nRefuse new work, end the threads; True when all have ended."},
    {"abandon_raw", guarded<runtime_abandon>, METH_NOARGS, "Forget the threads: they are not in this process."},
    {"virtual_now_s", guarded<runtime_virtual_now>, METH_NOARGS, "The runtime's time in seconds."},
    {"virtual_drive", guarded<runtime_virtual_drive>, METH_O,
     "virtual_drive($self, until_s, /)\n--\n\nRun what can run and advance time; True when nothing is in flight."},
    {"virtual_poll", guarded<runtime_virtual_poll>, METH_O, "virtual_poll($self, fn, /)\n--\n\nThe event loop's turn."},
    {nullptr, nullptr, 0, nullptr},
};
PyMemberDef runtime_members[] = {
    {"name", T_OBJECT_EX, offsetof(RuntimeObject, name), READONLY, "The runtime's name."},
    {"debug", T_BOOL, offsetof(RuntimeObject, debug), READONLY, "Whether all runs on the caller's thread, in order."},
    {"closed", T_BOOL, offsetof(RuntimeObject, closed), READONLY, "Whether it refuses new work."},
    {"__weaklistoffset__", T_PYSSIZET, offsetof(RuntimeObject, weakrefs), READONLY, nullptr},
    {nullptr, 0, 0, 0, nullptr},
};
PyGetSetDef runtime_getset[] = {
    {"workers", guarded<runtime_workers>, nullptr, "How many workers it has.", nullptr},
    {"max_workers", guarded<runtime_max_workers>, nullptr, "How many it may have.", nullptr},
    {nullptr, nullptr, nullptr, nullptr, nullptr},
};
PyType_Slot runtime_slots[] = {
    {Py_tp_init, reinterpret_cast<void*>(guarded<runtime_init>)},
    {Py_tp_new, reinterpret_cast<void*>(PyType_GenericNew)},
    {Py_tp_dealloc, reinterpret_cast<void*>(guarded_dealloc<runtime_dealloc>)},
    {Py_tp_traverse, reinterpret_cast<void*>(runtime_traverse)},
    {Py_tp_clear, reinterpret_cast<void*>(runtime_clear)},
    {Py_tp_methods, runtime_methods},
    {Py_tp_members, runtime_members},
    {Py_tp_getset, runtime_getset},
    {Py_tp_doc, const_cast<char*>("The scheduler as Python sees it.")},
    {0, nullptr},
};
PyType_Spec runtime_spec = {"tailrace._core.RuntimeCore", sizeof(RuntimeObject), 0,
                            Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC, runtime_slots};

}  // namespace

void bind_runtime(PyObject* module) {
  runtime_type = add_type(module, runtime_spec);
  find_main_thread();
}

}  // namespace tailrace::bindings
