#include "future.hpp"

#include <new>

#include "awaiting.hpp"
#include "frame.hpp"
#include "pybind.hpp"
#include "stand_in.hpp"

namespace tailrace::bindings {

namespace {

// fn(*args, **kwargs) in the task's own context; null with an exception set.
PyObject* call_task(FutureObject* f) {
  const Py_ssize_t keywords = f->kwnames != nullptr ? PyTuple_GET_SIZE(f->kwnames) : 0;
  auto** args = reinterpret_cast<PyTupleObject*>(f->args)->ob_item;
  if (PyContext_Enter(f->context) != 0) return nullptr;
  const auto positional = static_cast<std::size_t>(PyTuple_GET_SIZE(f->args) - keywords);
  PyObject* value = outside([&] { return PyObject_Vectorcall(f->fn, args, positional, f->kwnames); });
  PyContext_Exit(f->context);
  return value;
}

}  // namespace

void log_callback_error(PyObject* future) {
  const auto error = py::reinterpret_steal<py::object>(take_raised());  // first: nothing may be called while it is set
  try {
    const py::object logger = py::module_::import("logging").attr("getLogger")("concurrent.futures");
    logger.attr("error")("exception calling callback for %r", py::handle(future), py::arg("exc_info") = error);
  } catch (py::error_already_set& failed) {
    failed.discard_as_unraisable("tailrace: a callback's error could not be logged");
  }
}

// Those who wait through concurrent.futures.wait or as_completed. They look at `_state` under the condition, and count
// this future or leave it to us: it must say that it has ended from here on, not from the moment it did.
void notify_condition(FutureObject* f) {
  const char* what = f->state != TaskState::kFinished ? "add_cancelled"
                     : f->exception != nullptr        ? "add_exception"
                                                      : "add_result";
  try {
    const auto condition = py::reinterpret_borrow<py::object>(f->condition);
    condition.attr("acquire")();
    f->announced = true;
    try {
      // A future that was made and cancelled by hand is announced by its executor (set_running_or_notify_cancel).
      if (f->waiters != nullptr && f->state != TaskState::kCancelled) {
        for (py::handle waiter : py::reinterpret_borrow<py::list>(f->waiters)) {
          waiter.attr(what)(py::handle(reinterpret_cast<PyObject*>(f)));
        }
      }
      condition.attr("notify_all")();
    } catch (py::error_already_set& failed) {
      failed.discard_as_unraisable("tailrace: waking the waiters of a future");
    }
    condition.attr("release")();
  } catch (py::error_already_set& failed) {
    failed.discard_as_unraisable("tailrace: waking the waiters of a future");
  }
}

void end_task(FutureObject* f, TaskState state, PyObject* result, PyObject* exception) {
  f->result = result;
  f->exception = exception;
  f->state = state;
  f->announced = f->condition == nullptr;  // whoever makes it now sees the end
  Py_CLEAR(f->fn);
  Py_CLEAR(f->args);
  Py_CLEAR(f->kwnames);
  Py_CLEAR(f->context);
  if (f->counted) {
    f->counted = false;
    const auto outcome = state != TaskState::kFinished ? base::Outcome::kCancelled
                         : exception != nullptr        ? base::Outcome::kFailed
                                                       : base::Outcome::kOk;
    count_end(f->runtime, outcome, f->nested);
    live_ended(f->runtime);
  }
  // [Z1] acq_rel: the result is there for who wakes; whether somebody sleeps is decided by this exchange ([Z2]).
  if (f->signal.exchange(2, base::acq_rel) == 1) base::StdAtomics::unpark(f->signal, INT32_MAX);
  if (f->announced && f->callbacks == nullptr) return;
  if (f->announced && PyList_GET_SIZE(f->callbacks) == 1 && is_waiter(PyList_GET_ITEM(f->callbacks, 0))) {
    const Ref callbacks = Ref::steal(std::exchange(f->callbacks, nullptr));
    return wake_waiter(PyList_GET_ITEM(callbacks.get(), 0));
  }
  UserCode around{f->runtime};
  if (!f->announced) notify_condition(f);
  const Ref callbacks = Ref::steal(std::exchange(f->callbacks, nullptr));
  PyObject* self = reinterpret_cast<PyObject*>(f);
  for (Py_ssize_t i = 0; callbacks && i < PyList_GET_SIZE(callbacks.get()); ++i) {
    PyObject* fn = PyList_GET_ITEM(callbacks.get(), i);
    if (is_waiter(fn)) {
      wake_waiter(fn);
      continue;
    }
    const Ref ignored = Ref::steal(outside([&] { return PyObject_CallOneArg(fn, self); }));
    if (!ignored) log_callback_error(self);
  }
  around.leave();
}

void run_task(FutureObject* f, sched::Worker* worker, const char* thread) {
  if (f->state != TaskState::kPending) return;
  f->state = TaskState::kRunning;
  RuntimeObject* runtime = f->runtime;
  const bool is_virtual = runtime != nullptr && runtime->is_virtual;
  if (runtime != nullptr) look_at_probe(runtime->state->keeper);
  const std::int64_t began = is_virtual ? runtime->now_ns() : base::monotonic_ns();

  const Ref fn = Ref::borrow(f->fn);
  Frame frame{runtime, nullptr, reinterpret_cast<PyObject*>(f), fn.get(), worker, thread, began};
  if (runtime != nullptr) {
    frame.enter_body(frame.opens_for(runtime->state->costs.of(fn.get()), GilUse::kAuto, false));
  }
  PyObject* value = call_task(f);
  const bool clean = runtime == nullptr || frame.leave_body();
  frame.leave();

  const std::int64_t took = (is_virtual ? runtime->now_ns() : base::monotonic_ns()) - began;
  if (runtime != nullptr) {
    Cost& cost = runtime->state->costs.of(fn.get());
    cost.learn(took, clean);
    frame.learn_released(cost, took);
  }
  if (worker != nullptr && is_virtual) worker->counters().busy_ns.add(static_cast<std::uint64_t>(took));
  PyObject* error = value == nullptr ? take_raised() : nullptr;
  end_task(f, TaskState::kFinished, value, error);
}

void TaskItem::run(sched::Worker* worker) {
  const bool attach = worker == nullptr && !(future.runtime != nullptr && future.runtime->is_virtual);
  if (attach) attach_thread();
  if (take()) run_task(&future, worker, worker != nullptr ? worker->name().c_str() : "executor");
  drop();
  if (attach) detach_thread();
}

void TaskItem::complete(base::Outcome) {
  if (take()) end_task(&future, TaskState::kNotified, nullptr, nullptr);
  drop();
}

void TaskItem::drop() {
  FutureObject& held = future;
  if (this != &held.item) delete this;
  Py_DECREF(&held);
}

bool TaskItem::take() { return future.state == TaskState::kPending && priority == future.priority; }

bool set_priority(FutureObject* f, sched::Priority priority) {
  if (f->state != TaskState::kPending) return false;
  if (f->runtime == nullptr) {
    PyErr_SetString(PyExc_RuntimeError,
                    "only a task of a runtime has a priority: rt.submit(fn, ...).set_priority(tr.Priority.HIGH); "
                    "an Executor is first in, first out");
    return false;
  }
  if (priority == std::exchange(f->priority, priority)) return true;
  auto* entry = new TaskItem{*f};
  entry->priority = priority;
  Py_INCREF(f);
  f->runtime->scheduler().push_gated(entry);
  relieve(f->runtime);
  return true;
}

FutureObject* make_task(PyObject* const* args, Py_ssize_t given, PyObject* kwnames) {
  PyObject* object = future_type->tp_alloc(future_type, 0);
  if (object == nullptr) return nullptr;
  auto* f = reinterpret_cast<FutureObject*>(object);
  new (&f->item) TaskItem{*f};
  f->priority = f->item.priority;
  const Py_ssize_t all = given - 1 + (kwnames != nullptr ? PyTuple_GET_SIZE(kwnames) : 0);
  if ((f->args = PyTuple_New(all)) == nullptr) return Py_DECREF(object), nullptr;
  for (Py_ssize_t i = 0; i < all; ++i) PyTuple_SET_ITEM(f->args, i, Py_NewRef(args[i + 1]));
  f->fn = Py_NewRef(args[0]);
  f->kwnames = Py_XNewRef(kwnames);
  if ((f->context = PyContext_CopyCurrent()) == nullptr) return Py_DECREF(object), nullptr;
  return f;
}

PyObject* submit_task(RuntimeObject* runtime, PyObject* const* args, Py_ssize_t given, PyObject* kwnames) {
  bool nested = false;
  if (!admit(runtime, &nested)) return nullptr;
  FutureObject* f = make_task(args, given, kwnames);
  if (f == nullptr) return count_end(runtime, base::Outcome::kFailed, nested), nullptr;
  f->runtime = reinterpret_cast<RuntimeObject*>(Py_NewRef(reinterpret_cast<PyObject*>(runtime)));
  f->nested = nested;
  f->counted = true;
  ++runtime->state->live;
  if (runtime->debug) return run_task(f, nullptr, "caller"), reinterpret_cast<PyObject*>(f);
  Py_INCREF(f);
  runtime->scheduler().push_gated(&f->item);
  relieve(runtime);
  return reinterpret_cast<PyObject*>(f);
}

}  // namespace tailrace::bindings
