// bind_future.cpp -- `_core.Future`: the face of a task.
//
// GIL       result and exception let go of it while they wait.
// Order     The type is made when the module loads: class Future(_Task, concurrent.futures.Future).
#include "bindings.hpp"

#include <structmember.h>

#include "awaiting.hpp"
#include "frame.hpp"
#include "future.hpp"
#include "pybind.hpp"

namespace tailrace::bindings {

PyTypeObject* future_type = nullptr;

namespace {

PyObject* invalid_state_error = nullptr;
PyObject* cancelled_error = nullptr;

FutureObject* self_of(PyObject* object) { return reinterpret_cast<FutureObject*>(object); }

PyObject* task_new(PyTypeObject* type, PyObject*, PyObject*) {
  PyObject* object = type->tp_alloc(type, 0);
  if (object != nullptr) new (&self_of(object)->item) TaskItem{*self_of(object)};
  return object;
}

int task_init(PyObject*, PyObject*, PyObject*) { return 0; }

int task_traverse(PyObject* object, visitproc visit, void* arg) {
  FutureObject* f = self_of(object);
  Py_VISIT(Py_TYPE(object));
  for (PyObject* held : {f->fn, f->few[0], f->few[1], f->context, f->result, f->exception, f->callbacks, f->condition,
                         f->waiters, f->executor}) {
    Py_VISIT(held);
  }
  Py_VISIT(f->runtime);
  return 0;
}

int task_clear(PyObject* object) {
  FutureObject* f = self_of(object);
  f->drop_work();
  for (PyObject** held : {&f->result, &f->exception, &f->callbacks, &f->condition, &f->waiters}) {
    Py_CLEAR(*held);
  }
  return 0;
}

void task_dealloc(PyObject* object) {
  PyObject_GC_UnTrack(object);
  PyTypeObject* type = Py_TYPE(object);
  FutureObject* f = self_of(object);
  task_clear(object);
  Py_CLEAR(f->runtime);
  Py_CLEAR(f->executor);
  type->tp_free(object);
  Py_DECREF(type);
}

// Waits for the end, running the task here if nobody has begun it. 1 ended, 0 too late, -1 exception set.
int wait_task(FutureObject* f, std::int64_t deadline_ns) {
  settle_left_behind(f);
  if (f->ended()) return 1;
  RuntimeObject* runtime = f->runtime;
  const Ref owner = Ref::borrow(reinterpret_cast<PyObject*>(runtime));  // the future lets go of it at its end
  for (const Frame* frame = top_frame; frame != nullptr; frame = frame->outer) {
    if (frame->task == reinterpret_cast<PyObject*>(f)) {
      return raise_hooked("deadlock", Py_BuildValue("{s:s,s:O}", "workflow", "submit", "step", frame->label)), -1;
    }
  }
  if (runtime != nullptr && runtime->is_virtual) {
    if (!drive_until(runtime, deadline_ns, [&] { return f->ended(); })) return -1;
    return f->ended() ? 1 : 0;
  }
  if (runtime != nullptr && f->state == TaskState::kPending) {
    const bool fits =
        deadline_ns == base::kNever || runtime->state->costs.of(f->fn).fits(deadline_ns - base::monotonic_ns());
    if (fits) {
      GuestSlot slot{runtime};
      if (slot.granted()) run_task(f, nullptr, "caller");
      slot.leave();
    }
    if (f->ended()) return 1;
  }
  if (top_frame != nullptr) top_frame->begin_wait();
  const int ended = wait_without_gil(deadline_ns, [f](std::int64_t timeout_ns) {
    std::uint32_t seen = 0;
    // [Z2] acquire, all: pairs with [Z1].
    if (f->signal.compare_exchange_strong(seen, 1, base::acquire, base::acquire)) seen = 1;
    if (seen == 1) base::StdAtomics::park(f->signal, 1, timeout_ns);
    return f->signal.load(base::acquire) == 2;  // [Z2] acquire: as above
  });
  if (top_frame != nullptr) top_frame->end_wait();
  return ended;
}

// The one argument of `result` and `exception`; null with an exception set.
PyObject* timeout_of(PyObject* const* args, Py_ssize_t given, PyObject* kwnames, const char* method) {
  const Py_ssize_t named = kwnames != nullptr ? PyTuple_GET_SIZE(kwnames) : 0;
  if (given + named == 0) return Py_None;
  if (given + named > 1) {
    return PyErr_Format(PyExc_TypeError, "%s(timeout=None) takes at most 1 argument, got %zd", method, given + named);
  }
  if (named == 1 && PyUnicode_CompareWithASCIIString(PyTuple_GET_ITEM(kwnames, 0), "timeout") != 0) {
    return PyErr_Format(PyExc_TypeError, "%s(timeout=None) got an unexpected keyword argument %R", method,
                        PyTuple_GET_ITEM(kwnames, 0));
  }
  return args[0];
}

bool wait_or_raise(FutureObject* f, PyObject* timeout) {
  if (timeout == nullptr) return false;
  std::int64_t deadline_ns = base::kNever;
  if (timeout != Py_None) {
    const double seconds = PyFloat_AsDouble(timeout);
    if (PyErr_Occurred() != nullptr) return false;
    const std::int64_t now = f->runtime != nullptr ? f->runtime->now_ns() : base::monotonic_ns();
    deadline_ns = base::after_s(now, seconds);
  }
  const int ended = wait_task(f, deadline_ns);
  if (ended == 0) PyErr_SetString(PyExc_TimeoutError, "the task has not ended yet; it goes on, cancel() would stop it");
  if (ended != 1) return false;
  if (f->state == TaskState::kFinished) return true;
  PyErr_SetNone(cancelled_error);
  return false;
}

PyObject* task_result(PyObject* object, PyObject* const* args, Py_ssize_t given, PyObject* kwnames) {
  FutureObject* f = self_of(object);
  if (!wait_or_raise(f, timeout_of(args, given, kwnames, "result"))) return nullptr;
  if (f->exception == nullptr) return Py_NewRef(f->result != nullptr ? f->result : Py_None);
  raise(f->exception);
  return nullptr;
}

PyObject* task_exception(PyObject* object, PyObject* const* args, Py_ssize_t given, PyObject* kwnames) {
  if (!wait_or_raise(self_of(object), timeout_of(args, given, kwnames, "exception"))) return nullptr;
  PyObject* exception = self_of(object)->exception;
  return Py_NewRef(exception != nullptr ? exception : Py_None);
}

PyObject* task_done(PyObject* object, PyObject*) {
  settle_left_behind(self_of(object));
  return PyBool_FromLong(self_of(object)->ended());
}
PyObject* task_running(PyObject* object, PyObject*) {
  return PyBool_FromLong(self_of(object)->state == TaskState::kRunning);
}
PyObject* task_cancelled(PyObject* object, PyObject*) {
  settle_left_behind(self_of(object));
  const TaskState state = self_of(object)->state;
  return PyBool_FromLong(state == TaskState::kCancelled || state == TaskState::kNotified);
}

PyObject* task_cancel(PyObject* object, PyObject*) {
  FutureObject* f = self_of(object);
  if (f->state == TaskState::kRunning || f->state == TaskState::kFinished) Py_RETURN_FALSE;
  // A task's queue has nothing more to say about it; one made by hand is announced by whoever made it.
  const TaskState state = f->fn != nullptr ? TaskState::kNotified : TaskState::kCancelled;
  if (f->state == TaskState::kPending) end_task(f, state, nullptr, nullptr);
  Py_RETURN_TRUE;
}

PyObject* task_add_done_callback(PyObject* object, PyObject* fn) {
  FutureObject* f = self_of(object);
  settle_left_behind(f);
  if (f->ended()) {
    const Ref ignored = Ref::steal(outside([&] { return PyObject_CallOneArg(fn, object); }));
    if (!ignored) log_callback_error(object);
    Py_RETURN_NONE;
  }
  show_to_collector(f);
  if (f->callbacks == nullptr && (f->callbacks = PyList_New(0)) == nullptr) return nullptr;
  if (PyList_Append(f->callbacks, fn) != 0) return nullptr;
  Py_RETURN_NONE;
}

// The executor's side of the protocol, for futures made by hand.
PyObject* task_set_running(PyObject* object, PyObject*) {
  FutureObject* f = self_of(object);
  if (f->state == TaskState::kCancelled) {
    f->state = TaskState::kNotified;
    f->announced = f->condition == nullptr;
    if (!f->announced) notify_condition(f);
    Py_RETURN_FALSE;
  }
  if (f->state != TaskState::kPending) {
    return PyErr_SetString(PyExc_RuntimeError, "Future in unexpected state"), nullptr;
  }
  f->state = TaskState::kRunning;
  Py_RETURN_TRUE;
}

PyObject* end_by_hand(PyObject* object, PyObject* result, PyObject* exception) {
  FutureObject* f = self_of(object);
  if (f->ended() || f->fn != nullptr) {
    Py_XDECREF(result);
    Py_XDECREF(exception);
    return PyErr_Format(invalid_state_error, "%R has an end, or a task that will give it one", object);
  }
  end_task(f, TaskState::kFinished, result, exception);
  Py_RETURN_NONE;
}
PyObject* task_set_result(PyObject* object, PyObject* result) {
  return end_by_hand(object, Py_NewRef(result), nullptr);
}
PyObject* task_set_exception(PyObject* object, PyObject* exception) {
  return end_by_hand(object, nullptr, exception != Py_None ? Py_NewRef(exception) : nullptr);
}

// What concurrent.futures reads by name.
PyObject* task_condition(PyObject* object, void*) {
  FutureObject* f = self_of(object);
  show_to_collector(f);
  if (f->condition == nullptr) {
    const Ref threading = Ref::steal(PyImport_ImportModule("threading"));
    if (!threading) return nullptr;
    PyObject* made = PyObject_CallMethod(threading.get(), "Condition", nullptr);
    if (made == nullptr) return nullptr;
    if (f->condition == nullptr) {
      f->condition = made;
    } else {
      Py_DECREF(made);  // another thread was faster
    }
  }
  return Py_NewRef(f->condition);
}

PyObject* list_of(FutureObject* f, PyObject*& list) {
  show_to_collector(f);
  if (list == nullptr) list = PyList_New(0);
  return Py_XNewRef(list);
}
PyObject* task_waiters(PyObject* object, void*) { return list_of(self_of(object), self_of(object)->waiters); }
PyObject* task_callbacks(PyObject* object, void*) { return list_of(self_of(object), self_of(object)->callbacks); }

// A user's attribute may be anything.
PyObject* task_dict(PyObject* object, void* context) {
  show_to_collector(self_of(object));
  return PyObject_GenericGetDict(object, context);
}
int task_setattro(PyObject* object, PyObject* name, PyObject* value) {
  show_to_collector(self_of(object));
  return PyObject_GenericSetAttr(object, name, value);
}
PyObject* task_state(PyObject* object, void*) {
  static const char* const kNames[] = {"PENDING", "RUNNING", "CANCELLED", "CANCELLED_AND_NOTIFIED", "FINISHED"};
  FutureObject* f = self_of(object);
  settle_left_behind(f);
  const TaskState state = f->ended() && !f->announced ? TaskState::kRunning : f->state;
  return PyUnicode_FromString(kNames[static_cast<int>(state)]);
}
PyObject* task_raw_result(PyObject* object, void*) {
  PyObject* result = self_of(object)->result;
  return Py_NewRef(result != nullptr ? result : Py_None);
}
PyObject* task_raw_exception(PyObject* object, void*) {
  PyObject* exception = self_of(object)->exception;
  return Py_NewRef(exception != nullptr ? exception : Py_None);
}

template <PyObject* (*F)(PyObject*, PyObject* const*, Py_ssize_t, PyObject*)>
PyCFunction with_keywords() {
  return reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(guarded<F>));
}

PyObject* task_set_priority(PyObject* object, PyObject* given) {
  sched::Priority priority{};
  if (!read_priority(given, &priority)) return nullptr;
  const bool moved = set_priority(self_of(object), priority);
  return PyErr_Occurred() == nullptr ? PyBool_FromLong(moved) : nullptr;
}

PyMethodDef task_methods[] = {
    {"result", with_keywords<task_result>(), METH_FASTCALL | METH_KEYWORDS,
     "result($self, timeout=None)\n--\n\nWait and return the value, or raise the task's own exception."},
    {"exception", with_keywords<task_exception>(), METH_FASTCALL | METH_KEYWORDS,
     "exception($self, timeout=None)\n--\n\nWait and return the exception, or None."},
    {"done", guarded<task_done>, METH_NOARGS, "Whether the task has ended."},
    {"running", guarded<task_running>, METH_NOARGS, "Whether the task runs now."},
    {"cancelled", guarded<task_cancelled>, METH_NOARGS, "Whether the task was cancelled before it began."},
    {"cancel", guarded<task_cancel>, METH_NOARGS, "Cancel the task if it has not begun; False if it has."},
    {"set_priority", guarded<task_set_priority>, METH_O,
     "set_priority($self, priority, /)\n--\n\nMove a queued task to this priority. False if it has begun or ended."},
    {"add_done_callback", guarded<task_add_done_callback>, METH_O,
     "add_done_callback($self, fn, /)\n--\n\nCall fn(future) once, at the end or now."},
    {"set_running_or_notify_cancel", guarded<task_set_running>, METH_NOARGS,
     "For futures made by hand: begin, or False."},
    {"set_result", guarded<task_set_result>, METH_O, "set_result($self, result, /)\n--\n\nFor futures made by hand."},
    {"set_exception", guarded<task_set_exception>, METH_O,
     "set_exception($self, exception, /)\n--\n\nFor futures made by hand."},
    {nullptr, nullptr, 0, nullptr},
};
PyGetSetDef task_getset[] = {
    {"_condition", guarded<task_condition>, nullptr, nullptr, nullptr},
    {"_waiters", guarded<task_waiters>, nullptr, nullptr, nullptr},
    {"_done_callbacks", guarded<task_callbacks>, nullptr, nullptr, nullptr},
    {"_state", guarded<task_state>, nullptr, nullptr, nullptr},
    {"_result", guarded<task_raw_result>, nullptr, nullptr, nullptr},
    {"_exception", guarded<task_raw_exception>, nullptr, nullptr, nullptr},
    {"__dict__", guarded<task_dict>, nullptr, nullptr, nullptr},
    {nullptr, nullptr, nullptr, nullptr, nullptr},
};
PyType_Slot task_slots[] = {
    {Py_tp_new, reinterpret_cast<void*>(guarded<task_new>)},
    {Py_tp_init, reinterpret_cast<void*>(guarded<task_init>)},
    {Py_tp_dealloc, reinterpret_cast<void*>(guarded_dealloc<task_dealloc>)},
    {Py_tp_traverse, reinterpret_cast<void*>(task_traverse)},
    {Py_tp_clear, reinterpret_cast<void*>(task_clear)},
    {Py_tp_methods, task_methods},
    {Py_tp_getset, task_getset},
    {Py_am_await, reinterpret_cast<void*>(guarded<await_future>)},
    {Py_tp_setattro, reinterpret_cast<void*>(guarded<task_setattro>)},
    {0, nullptr},
};
PyType_Spec task_spec = {"tailrace._core._Task", sizeof(FutureObject), 0,
                         Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC, task_slots};

}  // namespace

void bind_future(PyObject* module) {
  const py::object base = py::reinterpret_steal<py::object>(PyType_FromSpec(&task_spec));
  if (!base) throw py::error_already_set();
  const py::module_ futures = py::module_::import("concurrent.futures");
  cancelled_error = futures.attr("CancelledError").ptr();
  invalid_state_error = futures.attr("InvalidStateError").ptr();
  Py_INCREF(cancelled_error);
  Py_INCREF(invalid_state_error);
  py::dict body;
  body["__module__"] = "tailrace._core";
  body["__slots__"] = py::tuple();
  body["__dict__"] = base.attr("__dict__")["__dict__"];  // ours, not the one that a class with a dictionary would get
  body["__doc__"] = "The C-level future of `submit`; a real `concurrent.futures.Future` to everybody else.";
  const py::object made = py::reinterpret_steal<py::object>(
      PyObject_CallFunction(reinterpret_cast<PyObject*>(&PyType_Type), "s(OO)O", "Future", base.ptr(),
                            futures.attr("Future").ptr(), body.ptr()));
  if (!made) throw py::error_already_set();
  future_type = reinterpret_cast<PyTypeObject*>(made.inc_ref().ptr());
  py::reinterpret_borrow<py::module_>(module).attr("Future") = made;
}

}  // namespace tailrace::bindings
