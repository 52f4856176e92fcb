// bind_run.cpp -- `_core.Run`: the handle of one run.
//
// Lifetime  A Run holds a reference of its block; callbacks hold the Run until the run has ended.
// GIL       result and exception let go of it while they wait, and look for signals on the main thread.
#include "run_block.hpp"

#include <structmember.h>

#include "awaiting.hpp"
#include "each_part.hpp"

namespace tailrace::bindings {

namespace {

struct RunObject {
  PyObject_HEAD
  RunBlock* block;
  PyObject* weakrefs;
};

PyTypeObject* run_type = nullptr;

RunBlock* block_of(PyObject* object) { return reinterpret_cast<RunObject*>(object)->block; }

PyObject* run_await(PyObject* object) {
  RunBlock* block = block_of(object);
  block->retrieved = true;
  if (block->run.ending.outcome() != base::Outcome::kOk) return await_run(object, block);
  return make_ready(take_result(block));
}

// The `timeout` argument, in seconds or None, as a deadline; false with an exception set.
bool read_deadline(RunBlock* block, PyObject* args, PyObject* kwargs, const char* format, std::int64_t& deadline_ns) {
  static const char* keywords[] = {"timeout", nullptr};
  PyObject* timeout = Py_None;
  if (!PyArg_ParseTupleAndKeywords(args, kwargs, format, const_cast<char**>(keywords), &timeout)) return false;
  deadline_ns = base::kNever;
  if (timeout == Py_None) return true;
  const double seconds = PyFloat_AsDouble(timeout);
  if (PyErr_Occurred() != nullptr) return false;
  deadline_ns = base::after_s(block->runtime->now_ns(), seconds);
  return true;
}

// Waits; false with TimeoutError, or after an interrupt (which cancels the run).
bool wait_or_raise(PyObject* object, PyObject* args, PyObject* kwargs, const char* format) {
  RunBlock* block = block_of(object);
  std::int64_t deadline_ns = 0;
  if (!read_deadline(block, args, kwargs, format, deadline_ns)) return false;
  const int ended = wait_block(block, deadline_ns, true);
  if (ended == 1) {
    block->retrieved = true;
    return true;
  }
  if (ended == 0) {
    PyErr_Format(PyExc_TimeoutError, "workflow %R has not ended yet; the run goes on, run.cancel() would stop it",
                 block->plan->name);
  } else if (PyErr_ExceptionMatches(PyExc_KeyboardInterrupt) != 0) {
    PyObject* raised = take_raised();
    cancel_block(block);
    raise(raised);
    Py_DECREF(raised);
  }
  return false;
}

PyObject* run_result(PyObject* object, PyObject* args, PyObject* kwargs) {
  return wait_or_raise(object, args, kwargs, "|O:result") ? take_result(block_of(object)) : nullptr;
}

PyObject* run_exception(PyObject* object, PyObject* args, PyObject* kwargs) {
  if (!wait_or_raise(object, args, kwargs, "|O:exception")) return nullptr;
  RunBlock* block = block_of(object);
  const base::Outcome outcome = block->run.ending.outcome();
  if (outcome == base::Outcome::kOk) Py_RETURN_NONE;
  raise_ending(block);
  if (outcome == base::Outcome::kCancelled) return nullptr;  // as concurrent.futures does
  return take_raised();
}

PyObject* run_cancel(PyObject* object, PyObject*) { return PyBool_FromLong(cancel_block(block_of(object))); }

PyObject* run_set_priority(PyObject* object, PyObject* given) {
  sched::Priority priority{};
  return read_priority(given, &priority) ? PyBool_FromLong(set_priority(block_of(object), priority)) : nullptr;
}

PyObject* run_done(PyObject* object, PyObject*) { return PyBool_FromLong(block_of(object)->done()); }

PyObject* run_add_done_callback(PyObject* object, PyObject* fn) {
  RunBlock* block = block_of(object);
  if (!PyCallable_Check(fn)) return PyErr_Format(PyExc_TypeError, "a callback must be callable, got %R", fn);
  if (block->done()) {
    const Ref ignored = Ref::steal(outside([&] { return PyObject_CallOneArg(fn, object); }));
    if (!ignored) PyErr_WriteUnraisable(fn);
    Py_RETURN_NONE;
  }
  if (block->callbacks == nullptr && (block->callbacks = PyList_New(0)) == nullptr) return nullptr;
  const Ref pair = Ref::steal(PyTuple_Pack(2, fn, object));
  if (!pair || PyList_Append(block->callbacks, pair.get()) != 0) return nullptr;
  Py_RETURN_NONE;
}

// Appends what history() tells of one attempt, if it has started; false with an exception set.
bool add_record(PyObject* list, RunBlock* block, const NodeRecord& record, PyObject* label) {
  if (record.started_ns == 0 && record.thread == nullptr) return true;
  const bool running = record.outcome == base::Outcome::kPending;
  const double started_s = static_cast<double>(record.started_ns - block->started_ns) * 1e-9;
  const std::int64_t until = running ? block->runtime->now_ns() : record.ended_ns;
  const Ref entry = Ref::steal(
      PyObject_CallFunction(hooks.make_record, "Oisdds", label, 1, running ? "running" : base::name(record.outcome),
                            started_s, static_cast<double>(until - record.started_ns) * 1e-9, record.thread));
  return entry && PyList_Append(list, entry.get()) == 0;
}

// Of tr.each: its items; itself only if what it was given could not be read.
bool add_items(PyObject* list, RunBlock* block, std::size_t given) {
  const EachPart* part = block->parts;
  while (part != nullptr && block->run.plan().node(part->node).given != given) part = part->next_part;
  if (part == nullptr) {
    if (block->records[given].outcome != base::Outcome::kFailed) return true;
    const Ref label = Ref::steal(item_label(block, static_cast<int>(given), -1));
    return label && add_record(list, block, block->records[given], label.get());
  }
  // Copied: to make a record runs Python, and the collector may end the run.
  const std::vector<NodeRecord> records = part->records;
  for (std::size_t i = 0; i < records.size(); ++i) {
    const Ref label = Ref::steal(item_label(block, static_cast<int>(given), static_cast<Py_ssize_t>(i)));
    if (!label || !add_record(list, block, records[i], label.get())) return false;
  }
  return true;
}

// One record for each step that has started, in the order of the workflow.
PyObject* run_history(PyObject* object, PyObject*) {
  RunBlock* block = block_of(object);
  Ref list = Ref::steal(PyList_New(0));
  for (std::size_t i = 0; list && i < block->plan->specs->size(); ++i) {
    const NodeSpec& spec = (*block->plan->specs)[i];
    const bool added =
        spec.is_each ? add_items(list.get(), block, i) : add_record(list.get(), block, block->records[i], spec.label);
    if (!added) return nullptr;
  }
  return list.release();
}

PyObject* run_workflow(PyObject* object, void*) { return Py_NewRef(block_of(object)->plan->name); }

PyObject* run_state(PyObject* object, void*) {
  RunBlock* block = block_of(object);
  if (block->done()) return PyUnicode_FromString(base::name(block->run.ending.outcome()));
  for (std::size_t i = 0; i < block->plan->specs->size(); ++i) {
    if (block->records[i].thread != nullptr) return PyUnicode_FromString("running");
  }
  return PyUnicode_FromString("pending");
}

PyObject* run_repr(PyObject* object) {
  const Ref state = Ref::steal(run_state(object, nullptr));
  return state ? PyUnicode_FromFormat("<tailrace.Run of %U: %U>", block_of(object)->plan->name, state.get()) : nullptr;
}

int run_traverse(PyObject* object, visitproc visit, void* arg) {
  Py_VISIT(Py_TYPE(object));
  RunBlock* block = block_of(object);
  // What the block owns is this handle's once nobody works on the run any more. The error matters: its traceback leads
  // to whoever started the run, and from there back to here.
  if (block == nullptr || !block->has_fired) return 0;
  for (const Failure& failure : block->failures) {
    Py_VISIT(failure.error);
    Py_VISIT(failure.traceback);
  }
  Py_VISIT(block->runtime);
  Py_VISIT(block->plan);
  if (block->plan->output >= 0) Py_VISIT(block->values[block->plan->output]);
  return 0;
}

// A result may lead back to its run through objects that cannot be cleared themselves, such as tuples.
int run_clear(PyObject* object) {
  RunBlock* block = block_of(object);
  if (block == nullptr || !block->has_fired) return 0;
  clear_failures(*block);
  if (block->plan->output >= 0) Py_CLEAR(block->values[block->plan->output]);
  return 0;
}

// Before the collector takes anything apart, as the error that is logged may be part of what it has found.
void run_finalize(PyObject* object) {
  RunBlock* block = block_of(object);
  if (block == nullptr || !block->has_fired || block->retrieved) return;
  PyObject* raised = take_raised();  // a finalizer must leave it as it was
  log_unseen(block);
  if (raised != nullptr) raise(raised);
  Py_XDECREF(raised);
}

void run_dealloc(PyObject* object) {
  if (PyObject_CallFinalizerFromDealloc(object) < 0) return;
  PyObject_GC_UnTrack(object);
  PyTypeObject* type = Py_TYPE(object);
  if (reinterpret_cast<RunObject*>(object)->weakrefs != nullptr) PyObject_ClearWeakRefs(object);
  if (RunBlock* block = std::exchange(reinterpret_cast<RunObject*>(object)->block, nullptr)) {
    block->has_handle = false;
    block->run.release();
  }
  type->tp_free(object);
  Py_DECREF(type);
}

template <PyObject* (*F)(PyObject*, PyObject*, PyObject*)>
PyCFunction with_keywords() {
  return reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(guarded<F>));
}

PyMethodDef run_methods[] = {
    {"result", with_keywords<run_result>(), METH_VARARGS | METH_KEYWORDS,
     "result($self, timeout=None)\n--\n\nWait, helping, and return the workflow's value or raise how it ended."},
    {"exception", with_keywords<run_exception>(), METH_VARARGS | METH_KEYWORDS,
     "exception($self, timeout=None)\n--\n\nWait and return the exception that result() would raise, or None."},
    {"cancel", guarded<run_cancel>, METH_NOARGS,
     "End the run now; steps that have not started are skipped. False if it had ended."},
    {"set_priority", guarded<run_set_priority>, METH_O,
     "set_priority($self, priority, /)\n--\n\nQueue the run at this priority from now on. False if it had ended."},
    {"done", guarded<run_done>, METH_NOARGS, "Whether the run has ended."},
    {"history", guarded<run_history>, METH_NOARGS, "A record for each step that has started."},
    {"add_done_callback", guarded<run_add_done_callback>, METH_O,
     "add_done_callback($self, fn, /)\n--\n\nCall fn(run) once, when the run ends or now."},
    {nullptr, nullptr, 0, nullptr},
};
PyGetSetDef run_getset[] = {
    {"workflow", guarded<run_workflow>, nullptr, "The workflow's name.", nullptr},
    {"state", guarded<run_state>, nullptr, "pending, running, ok, failed, cancelled or timed_out.", nullptr},
    {nullptr, nullptr, nullptr, nullptr, nullptr},
};
PyMemberDef run_members[] = {
    {"__weaklistoffset__", T_PYSSIZET, offsetof(RunObject, weakrefs), READONLY, nullptr},
    {nullptr, 0, 0, 0, nullptr},
};
PyType_Slot run_slots[] = {
    {Py_tp_dealloc, reinterpret_cast<void*>(guarded_dealloc<run_dealloc>)},
    {Py_tp_traverse, reinterpret_cast<void*>(run_traverse)},
    {Py_tp_clear, reinterpret_cast<void*>(guarded<run_clear>)},
    {Py_tp_finalize, reinterpret_cast<void*>(guarded<run_finalize>)},
    {Py_tp_methods, run_methods},
    {Py_tp_getset, run_getset},
    {Py_tp_members, run_members},
    {Py_tp_repr, reinterpret_cast<void*>(guarded<run_repr>)},
    {Py_am_await, reinterpret_cast<void*>(guarded<run_await>)},
    {Py_tp_doc, const_cast<char*>("One run of a workflow: await it, or ask for its `result`.")},
    {0, nullptr},
};
PyType_Spec run_spec = {
    "tailrace._core.Run", sizeof(RunObject), 0,
    Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE | Py_TPFLAGS_DISALLOW_INSTANTIATION, run_slots};

}  // namespace

// Takes over one reference of the block.
PyObject* make_run(RunBlock* block) {
  PyObject* object = run_type->tp_alloc(run_type, 0);
  if (object == nullptr) return nullptr;
  reinterpret_cast<RunObject*>(object)->block = block;
  block->has_handle = true;
  return object;
}

void bind_run(PyObject* module) { run_type = add_type(module, run_spec); }

}  // namespace tailrace::bindings
