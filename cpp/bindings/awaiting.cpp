// awaiting.cpp -- `_core._Waiter` and `_core._Ready`: `await run`, `await future`, on any running loop.
//
// GIL       held throughout; nothing here waits.
// Lifetime  A waiter holds its target, and the target's callbacks hold the waiter until the target has ended. A waiter
//           that was cancelled lets go of its loop's future at once, and is nobody when it is woken later.
#include "awaiting.hpp"

#include "future.hpp"
#include "loop_turn.hpp"
#include "pybind.hpp"
#include "run_block.hpp"
#include "token.hpp"
#include "waits.hpp"

namespace tailrace::bindings {

namespace {

struct ReadyObject {
  PyObject_HEAD
  PyObject* value;
  bool yields;  // once, before the value
};

struct WaiterObject {
  PyObject_HEAD
  PyObject* target;       // a Run or a Future; null when it is over
  RunBlock* block;        // of a Run, else null
  PyObject* completions;  // of the loop that waits; null until the first step
  PyObject* future;       // of that loop
  PyObject* inner;        // iterates over `future`
  PyObject* token;        // of the async step whose own task this is
};

PyTypeObject* ready_type = nullptr;
PyTypeObject* waiter_type = nullptr;
PyObject* loop_cancelled_error = nullptr;  // asyncio.CancelledError, once somebody waits on a loop

PyObject* ready_next(PyObject* object) {
  if (std::exchange(reinterpret_cast<ReadyObject*>(object)->yields, false)) Py_RETURN_NONE;
  PyObject*& value = reinterpret_cast<ReadyObject*>(object)->value;
  if (value == nullptr) return nullptr;
  if (value == Py_None) {
    Py_CLEAR(value);
    return nullptr;
  }
  const Ref stop = Ref::steal(PyObject_CallOneArg(PyExc_StopIteration, value));
  Py_CLEAR(value);
  if (stop) PyErr_SetObject(PyExc_StopIteration, stop.get());
  return nullptr;
}

PySendResult ready_send(PyObject* object, PyObject*, PyObject** result) {
  if (std::exchange(reinterpret_cast<ReadyObject*>(object)->yields, false)) {
    return *result = Py_NewRef(Py_None), PYGEN_NEXT;
  }
  PyObject*& value = reinterpret_cast<ReadyObject*>(object)->value;
  *result = value != nullptr ? std::exchange(value, nullptr) : Py_NewRef(Py_None);
  return PYGEN_RETURN;
}

void ready_dealloc(PyObject* object) {
  PyTypeObject* type = Py_TYPE(object);
  Py_CLEAR(reinterpret_cast<ReadyObject*>(object)->value);
  type->tp_free(object);
  Py_DECREF(type);
}

WaiterObject* self_of(PyObject* object) { return reinterpret_cast<WaiterObject*>(object); }

FutureObject* task_of(const WaiterObject* self) { return reinterpret_cast<FutureObject*>(self->target); }

bool ended(const WaiterObject* self) { return self->block != nullptr ? self->block->done() : task_of(self)->ended(); }

bool find_cancelled_error() {
  if (loop_cancelled_error != nullptr) return true;
  const Ref asyncio = Ref::steal(PyImport_ImportModule("asyncio"));
  if (asyncio) loop_cancelled_error = PyObject_GetAttrString(asyncio.get(), "CancelledError");
  return loop_cancelled_error != nullptr;
}

void raise_cancelled(const WaiterObject* self) {
  if (!find_cancelled_error()) return;
  if (self->block != nullptr) {
    PyErr_Format(loop_cancelled_error, "the run of workflow %R was cancelled", self->block->plan->name);
  } else {
    PyErr_SetString(loop_cancelled_error, "the task was cancelled before it began");
  }
}

// The value (a new reference), or null with what an awaiter gets instead.
PyObject* outcome_of(const WaiterObject* self) {
  if (self->block != nullptr) {
    // A run that an interrupt has cancelled passes the interrupt on.
    const bool cancelled =
        self->block->run.ending.outcome() == base::Outcome::kCancelled && !is_interrupted(*self->block);
    return cancelled ? (raise_cancelled(self), nullptr) : take_result(self->block);
  }
  const FutureObject* task = task_of(self);
  if (task->state != TaskState::kFinished) return raise_cancelled(self), nullptr;
  if (task->exception != nullptr) return raise(task->exception), nullptr;
  return Py_NewRef(task->result != nullptr ? task->result : Py_None);
}

void let_go(WaiterObject* self) {
  if (self->token != nullptr) reinterpret_cast<TokenObject*>(self->token)->waits_for = nullptr;
  Py_CLEAR(self->token);
  Py_CLEAR(self->inner);
  Py_CLEAR(self->future);
  Py_CLEAR(self->completions);
  self->block = nullptr;
  Py_CLEAR(self->target);
}

PySendResult finish(WaiterObject* self, PyObject** result) {
  *result = outcome_of(self);
  let_go(self);
  return *result != nullptr ? PYGEN_RETURN : PYGEN_ERROR;
}

// The target goes on without this awaiter, unless nobody has begun it; a run is cancelled either way.
void cancel_target(WaiterObject* self) {
  if (self->block != nullptr) {
    cancel_block(self->block);
    return;
  }
  FutureObject* task = task_of(self);
  if (task->state != TaskState::kPending) return;
  // One that was made by hand is announced by whoever made it.
  end_task(task, task->fn != nullptr ? TaskState::kNotified : TaskState::kCancelled, nullptr, nullptr);
}

bool stand_among_callbacks(WaiterObject* self) {
  PyObject* object = reinterpret_cast<PyObject*>(self);
  PyObject*& callbacks = self->block != nullptr ? self->block->callbacks : task_of(self)->callbacks;
  if (callbacks == nullptr && (callbacks = PyList_New(0)) == nullptr) return false;
  if (self->block == nullptr) show_to_collector(task_of(self));
  if (self->block == nullptr) return PyList_Append(callbacks, object) == 0;
  const Ref pair = Ref::steal(PyTuple_Pack(2, object, self->target));
  return pair && PyList_Append(callbacks, pair.get()) == 0;
}

// An async step whose own task waits for its own run would never go on. Other tasks that it made may wait for it: they
// are no part of the step, as far as anybody can tell.
bool note_wait(WaiterObject* self, PyObject* task) {
  TokenObject* token = self->block != nullptr ? running_token() : nullptr;
  if (token == nullptr || task == Py_None) return true;
  const Ref held = Ref::steal(PyWeakref_NewRef(task, nullptr));  // CPython makes one for all who ask
  if (!held) return false;
  if (token->task != held.get()) return true;
  if (refuse_deadlock(self->block, token)) return false;
  self->token = Py_NewRef(reinterpret_cast<PyObject*>(token));
  token->waits_for = self->block;
  return true;
}

// Finds the running loop and begins to wait on a future of it; leaves `inner` null if the target has ended meanwhile.
bool begin(WaiterObject* self) {
  RuntimeObject* runtime = self->block != nullptr ? self->block->runtime : task_of(self)->runtime;
  if (self->block == nullptr) settle_left_behind(task_of(self));
  if (ended(self)) return true;
  // Owned: a task lets go of its runtime at its end, which in virtual time comes inside.
  const Ref held = Ref::borrow(runtime != nullptr ? reinterpret_cast<PyObject*>(runtime) : Py_None);
  const Ref opened = Ref::steal(
      outside([&] { return PyObject_CallFunctionObjArgs(hooks.open_wait, self->target, held.get(), nullptr); }));
  if (!opened) return false;
  if (ended(self)) return true;  // in virtual time the hook has driven it to its end
  if (!PyTuple_Check(opened.get()) || PyTuple_GET_SIZE(opened.get()) != 3) {
    return PyErr_Format(PyExc_TypeError, "open_wait must return (completions, future, task), got %R", opened.get()),
           false;
  }
  if (!note_wait(self, PyTuple_GET_ITEM(opened.get(), 2))) return false;
  self->completions = Py_NewRef(PyTuple_GET_ITEM(opened.get(), 0));
  self->future = Py_NewRef(PyTuple_GET_ITEM(opened.get(), 1));
  const PyAsyncMethods* async = Py_TYPE(self->future)->tp_as_async;
  if (async == nullptr || async->am_await == nullptr) {
    return PyErr_Format(PyExc_TypeError, "the loop's future cannot be awaited: %R", self->future), false;
  }
  return stand_among_callbacks(self) && (self->inner = async->am_await(self->future)) != nullptr;
}

PySendResult waiter_send(PyObject* object, PyObject* sent, PyObject** result) {
  WaiterObject* self = self_of(object);
  *result = nullptr;
  if (self->target == nullptr) {
    PyErr_SetString(PyExc_RuntimeError, "this await is over; await the run or the future again");
    return PYGEN_ERROR;
  }
  if (self->inner == nullptr) {
    if (!ended(self) && !begin(self)) return let_go(self), PYGEN_ERROR;
    if (self->inner == nullptr) return finish(self, result);
  }
  const PySendResult got = PyIter_Send(self->inner, sent, result);
  if (got == PYGEN_NEXT) return got;
  if (got == PYGEN_ERROR) {
    PyObject* raised = take_raised();
    if (!ended(self)) cancel_target(self);
    let_go(self);
    raise(raised);
    Py_DECREF(raised);
    return got;
  }
  Py_CLEAR(*result);
  return finish(self, result);
}

PyObject* waiter_next(PyObject* object) {
  PyObject* result = nullptr;
  const PySendResult got = waiter_send(object, Py_None, &result);
  if (got != PYGEN_RETURN) return result;
  const Ref value = Ref::steal(result);
  const Ref stop = Ref::steal(PyObject_CallOneArg(PyExc_StopIteration, value.get()));
  if (stop) PyErr_SetObject(PyExc_StopIteration, stop.get());
  return nullptr;
}

PyObject* waiter_send_method(PyObject* object, PyObject* sent) {
  PyObject* result = nullptr;
  if (waiter_send(object, sent, &result) != PYGEN_RETURN) return result;
  const Ref value = Ref::steal(result);
  const Ref stop = Ref::steal(PyObject_CallOneArg(PyExc_StopIteration, value.get()));
  if (stop) PyErr_SetObject(PyExc_StopIteration, stop.get());
  return nullptr;
}

// What a task that is cancelled does to the coroutine it waits in. Anything thrown ends the wait.
PyObject* waiter_throw(PyObject* object, PyObject* const* args, Py_ssize_t given) {
  WaiterObject* self = self_of(object);
  if (given < 1 || given > 3) return PyErr_Format(PyExc_TypeError, "throw() takes 1 to 3 arguments, got %zd", given);
  PyObject* error = given > 1 && args[1] != Py_None ? args[1] : args[0];
  if (PyExceptionClass_Check(error)) {
    PyErr_SetNone(error);
  } else if (PyExceptionInstance_Check(error)) {
    raise(error);
  } else {
    return PyErr_Format(PyExc_TypeError, "throw() takes an exception, got %R", error);
  }
  PyObject* raised = take_raised();
  // Whatever else is thrown in, is thrown by a library that wants this one await to fail.
  if (self->inner != nullptr && !ended(self) && find_cancelled_error() &&
      PyErr_GivenExceptionMatches(raised, loop_cancelled_error) != 0) {
    cancel_target(self);
  }
  let_go(self);
  raise(raised);
  Py_DECREF(raised);
  return nullptr;
}

PyObject* waiter_close(PyObject* object, PyObject*) { return let_go(self_of(object)), Py_NewRef(Py_None); }

int waiter_traverse(PyObject* object, visitproc visit, void* arg) {
  Py_VISIT(Py_TYPE(object));
  for (PyObject* held : {self_of(object)->target, self_of(object)->completions, self_of(object)->future,
                         self_of(object)->inner, self_of(object)->token}) {
    Py_VISIT(held);
  }
  return 0;
}

int waiter_clear(PyObject* object) { return let_go(self_of(object)), 0; }

void waiter_dealloc(PyObject* object) {
  PyObject_GC_UnTrack(object);
  PyTypeObject* type = Py_TYPE(object);
  let_go(self_of(object));
  type->tp_free(object);
  Py_DECREF(type);
}

PyType_Slot ready_slots[] = {
    {Py_tp_dealloc, reinterpret_cast<void*>(guarded_dealloc<ready_dealloc>)},
    {Py_tp_iter, reinterpret_cast<void*>(PyObject_SelfIter)},
    {Py_tp_iternext, reinterpret_cast<void*>(guarded<ready_next>)},
    {Py_am_send, reinterpret_cast<void*>(guarded<ready_send>)},
    {0, nullptr},
};
PyType_Spec ready_spec = {"tailrace._core._Ready", sizeof(ReadyObject), 0,
                          Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE | Py_TPFLAGS_DISALLOW_INSTANTIATION,
                          ready_slots};

PyMethodDef waiter_methods[] = {
    {"send", guarded<waiter_send_method>, METH_O, nullptr},
    {"throw", reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(guarded<waiter_throw>)), METH_FASTCALL,
     nullptr},
    {"close", guarded<waiter_close>, METH_NOARGS, nullptr},
    {nullptr, nullptr, 0, nullptr},
};
PyType_Slot waiter_slots[] = {
    {Py_tp_dealloc, reinterpret_cast<void*>(guarded_dealloc<waiter_dealloc>)},
    {Py_tp_traverse, reinterpret_cast<void*>(waiter_traverse)},
    {Py_tp_clear, reinterpret_cast<void*>(guarded<waiter_clear>)},
    {Py_tp_iter, reinterpret_cast<void*>(PyObject_SelfIter)},
    {Py_tp_iternext, reinterpret_cast<void*>(guarded<waiter_next>)},
    {Py_tp_methods, waiter_methods},
    {Py_am_send, reinterpret_cast<void*>(guarded<waiter_send>)},
    {0, nullptr},
};
PyType_Spec waiter_spec = {
    "tailrace._core._Waiter", sizeof(WaiterObject), 0,
    Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    waiter_slots};

PyObject* make_waiter(PyObject* target, RunBlock* block) {
  PyObject* object = waiter_type->tp_alloc(waiter_type, 0);
  if (object == nullptr) return nullptr;
  self_of(object)->target = Py_NewRef(target);
  self_of(object)->block = block;
  return object;
}

}  // namespace

PyObject* make_ready(PyObject* value) {
  PyObject* ready = value != nullptr ? ready_type->tp_alloc(ready_type, 0) : nullptr;
  if (ready == nullptr) return Py_XDECREF(value), nullptr;
  reinterpret_cast<ReadyObject*>(ready)->value = value;
  reinterpret_cast<ReadyObject*>(ready)->yields = loop_turn.is_long();
  return ready;
}

PyObject* await_run(PyObject* run, RunBlock* block) { return make_waiter(run, block); }

PyObject* await_future(PyObject* future) {
  const auto* task = reinterpret_cast<FutureObject*>(future);
  if (task->state != TaskState::kFinished || task->exception != nullptr) return make_waiter(future, nullptr);
  return make_ready(Py_NewRef(task->result != nullptr ? task->result : Py_None));
}

bool is_waiter(PyObject* callback) noexcept { return Py_IS_TYPE(callback, waiter_type); }

void wake_waiter(PyObject* waiter) {
  PyObject* completions = self_of(waiter)->completions;
  if (completions == nullptr) return;  // it was cancelled meanwhile
  if (!post_completion(completions, waiter)) PyErr_WriteUnraisable(waiter);
}

bool deliver_waiter(PyObject* waiter) {
  static PyObject* const done_name = PyUnicode_InternFromString("done");
  static PyObject* const set_name = PyUnicode_InternFromString("set_result");
  const Ref future = Ref::borrow(self_of(waiter)->future);
  if (!future) return true;
  const Ref done = Ref::steal(outside([&] { return PyObject_CallMethodNoArgs(future.get(), done_name); }));
  if (!done) return false;
  if (done.get() == Py_True) return true;
  return static_cast<bool>(
      Ref::steal(outside([&] { return PyObject_CallMethodOneArg(future.get(), set_name, Py_None); })));
}

void bind_awaiting(PyObject*) {
  ready_type = reinterpret_cast<PyTypeObject*>(PyType_FromSpec(&ready_spec));
  waiter_type = reinterpret_cast<PyTypeObject*>(PyType_FromSpec(&waiter_spec));
  if (ready_type == nullptr || waiter_type == nullptr) throw py::error_already_set();
}

}  // namespace tailrace::bindings
