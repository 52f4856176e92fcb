#include "future.hpp"

#include <new>

#include "activity.hpp"
#include "awaiting.hpp"
#include "context.hpp"
#include "frame.hpp"
#include "pybind.hpp"
#include "stand_in.hpp"
#include "tailrace/base/tick.hpp"

namespace tailrace::bindings {

namespace {

// fn(*args, **kwargs) in the task's own context; null with an exception set.
PyObject* call_task(FutureObject* f) {
  const Py_ssize_t keywords = f->kwnames != nullptr ? PyTuple_GET_SIZE(f->kwnames) : 0;
  const auto positional = static_cast<std::size_t>(static_cast<Py_ssize_t>(f->given) - keywords);
  OwnContext context;
  if (!context.enter(f->context, true)) return nullptr;
  PyObject* value = outside([&] { return PyObject_Vectorcall(f->fn, f->arguments(), positional, f->kwnames); });
  context.leave();
  return value;
}

// Two exact clock reads cost as much as a small body, so of a body known to be small every eighth call is measured. The
// others see the clock of the system's last tick, which at least tells a body that was long this time.
constexpr std::int64_t kSmallNs = 20'000;
constexpr std::uint64_t kSampleEvery = 8;
constexpr std::int64_t kTicksNs = 25'000'000;  // more than a small body can see by ticks, however slow they are

bool wants_sample(const Cost& cost) noexcept {
  return cost.clean_calls < Cost::kWindow || cost.high_ns >= kSmallNs || cost.dirty_in_a_row > 0 ||
         cost.calls % kSampleEvery == 0;
}

// An executor's thread wakes who waits for its task once it has let go of the GIL: the woken one would only sleep again, for
// the GIL. By then the future may be gone; a wake uses no more of it than its address.
thread_local base::atomic<std::uint32_t>* owed_wake = nullptr;

void pay_owed_wake() {
  if (owed_wake != nullptr) base::StdAtomics::unpark(*std::exchange(owed_wake, nullptr), INT32_MAX);
}

// Could the collector find a way from it back to the future?
bool may_lead_back(PyObject* object) noexcept { return object != nullptr && PyObject_IS_GC(object) != 0; }

}  // namespace

std::uint32_t fork_epoch = 0;

void after_fork() {
  ++fork_epoch;
  keep_own_frames();
  find_main_thread();
  activity.after_fork();
}

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

// The condition of concurrent.futures.wait, then the callbacks.
void tell_observers(FutureObject* f) {
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

void FutureObject::drop_work() {
  Py_CLEAR(fn);
  for (PyObject*& each : few) Py_CLEAR(each);
  Py_CLEAR(kwnames);
  if (context != nullptr) drop_context(std::exchange(context, nullptr));
}

void show_to_collector(FutureObject* f) noexcept {
  PyObject* const object = reinterpret_cast<PyObject*>(f);
  if (PyObject_GC_IsTracked(object) == 0) PyObject_GC_Track(object);
}

void end_task(FutureObject* f, TaskState state, PyObject* result, PyObject* exception) {
  const bool by_executor = f->state == TaskState::kRunning && f->executor != nullptr;
  f->result = result;
  f->exception = exception;
  f->state = state;
  f->announced = f->condition == nullptr;  // whoever makes it now sees the end
  if (may_lead_back(result) || exception != nullptr) show_to_collector(f);
  f->drop_work();
  if (f->counted) {
    f->counted = false;
    const auto outcome = state != TaskState::kFinished ? base::Outcome::kCancelled
                         : exception != nullptr        ? base::Outcome::kFailed
                                                       : base::Outcome::kOk;
    count_end(f->runtime, outcome, f->nested);
    live_ended(f->runtime);
  }
  // [Z1] acq_rel: the result is there for who wakes; whether somebody sleeps is decided by this exchange ([Z2]).
  if (f->signal.exchange(2, base::acq_rel) == 1) {
    if (by_executor && f->announced && f->callbacks == nullptr) {
      owed_wake = &f->signal;
    } else {
      base::StdAtomics::unpark(f->signal, INT32_MAX);
    }
  }
  if (!f->announced || f->callbacks != nullptr) tell_observers(f);
  // What made it is needed no more, and may have the future as an attribute.
  Py_CLEAR(f->runtime);
  Py_CLEAR(f->executor);
}

void run_task(FutureObject* f, sched::Worker* worker, const char* thread) {
  if (f->state != TaskState::kPending) return;
  f->state = TaskState::kRunning;
  const Ref owner = Ref::borrow(reinterpret_cast<PyObject*>(f->runtime));
  RuntimeObject* runtime = f->runtime;
  if (runtime != nullptr) look_at_probe(runtime->state->keeper);
  const Ref fn = Ref::borrow(f->fn);
  const bool exact = runtime != nullptr && (f->driven || wants_sample(runtime->state->costs.of(fn.get())));
  const auto now = [&] { return f->driven ? runtime->now_ns() : exact ? base::monotonic_ns() : base::tick_ns(); };
  const std::int64_t began = now();

  Frame frame{runtime, nullptr, reinterpret_cast<PyObject*>(f), fn.get(), worker, thread, began};
  if (runtime != nullptr) {
    frame.enter_body(frame.opens_for(runtime->state->costs.of(fn.get()), GilUse::kAuto, false));
  }
  PyObject* value = call_task(f);
  const bool clean = runtime == nullptr || frame.leave_body();
  frame.leave();

  if (runtime != nullptr) {
    const std::int64_t took = now() - began;
    Cost& cost = runtime->state->costs.of(fn.get());
    if (exact || took > kTicksNs) {
      cost.learn(took, clean);
      frame.learn_released(cost, took);
    } else {
      ++cost.calls;
    }
    if (worker != nullptr && f->driven) worker->counters().busy_ns.add(static_cast<std::uint64_t>(took));
  }
  PyObject* error = value == nullptr ? take_raised() : nullptr;
  end_task(f, TaskState::kFinished, value, error);
}

void TaskItem::run(sched::Worker* worker) {
  const bool attach = worker == nullptr && !future.driven;
  if (attach) attach_thread();
  if (take()) run_task(&future, worker, worker != nullptr ? worker->name().c_str() : "executor");
  drop();
  if (worker == nullptr && this_lane != nullptr) this_lane->returning();  // before a waiter can come and submit more
  if (attach) detach_thread();
  pay_owed_wake();
}

void TaskItem::complete(base::Outcome) {
  if (take()) {
    if (future.executor != nullptr && is_broken(future.executor)) {
      set_broken();
      end_task(&future, TaskState::kFinished, nullptr, take_raised());
    } else {
      end_task(&future, TaskState::kNotified, nullptr, nullptr);
    }
  }
  drop();
}

void TaskItem::drop() {
  FutureObject& held = future;
  if (this != &held.item) delete this;
  Py_CLEAR(held.executor);  // a result that is kept keeps no threads
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
  PyObject_GC_UnTrack(object);  // see show_to_collector
  auto* f = reinterpret_cast<FutureObject*>(object);
  new (&f->item) TaskItem{*f};
  f->priority = f->item.priority;
  f->epoch = fork_epoch;
  const Py_ssize_t all = given - 1 + (kwnames != nullptr ? PyTuple_GET_SIZE(kwnames) : 0);
  PyObject** to = f->few;
  if (all > std::ssize(f->few)) {
    if ((f->few[0] = PyTuple_New(all)) == nullptr) return Py_DECREF(object), nullptr;
    to = reinterpret_cast<PyTupleObject*>(f->few[0])->ob_item;
  }
  f->given = static_cast<std::uint32_t>(all);
  for (Py_ssize_t i = 0; i < all; ++i) to[i] = Py_NewRef(args[i + 1]);
  f->fn = Py_NewRef(args[0]);
  f->kwnames = Py_XNewRef(kwnames);
  if ((f->context = capture_context()) == nullptr) return Py_DECREF(object), nullptr;
  return f;
}

PyObject* submit_task(RuntimeObject* runtime, PyObject* const* args, Py_ssize_t given, PyObject* kwnames) {
  bool nested = false;
  if (!admit(runtime, &nested)) return nullptr;
  FutureObject* f = make_task(args, given, kwnames);
  if (f == nullptr) return count_end(runtime, base::Outcome::kFailed, nested), nullptr;
  f->runtime = reinterpret_cast<RuntimeObject*>(Py_NewRef(reinterpret_cast<PyObject*>(runtime)));
  f->nested = nested;
  f->driven = runtime->is_virtual;
  f->counted = true;
  live_begun(runtime);
  if (runtime->debug) return run_task(f, nullptr, "caller"), reinterpret_cast<PyObject*>(f);
  Py_INCREF(f);
  runtime->scheduler().push_gated(&f->item);
  relieve(runtime);
  return reinterpret_cast<PyObject*>(f);
}

}  // namespace tailrace::bindings
