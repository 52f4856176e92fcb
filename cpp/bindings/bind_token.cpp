// bind_token.cpp -- `_core.NodeToken`: an async step that somebody must finish, once.
//
// Lifetime  A token holds a reference of its run. One that is dropped unfinished fails its step: nothing is lost.
#include "each_part.hpp"
#include "pybind.hpp"
#include "token.hpp"

namespace tailrace::bindings {

namespace {

// In the context of an async step. It does not own the token: the context would then keep a task that its loop dropped.
struct MarkObject {
  PyObject_HEAD
  TokenObject* token;
};

PyTypeObject* token_type = nullptr;
PyTypeObject* mark_type = nullptr;
PyObject* mark_variable = nullptr;
std::int64_t open_tokens = 0;  // of all runtimes

void mark_dealloc(PyObject* object) {
  PyTypeObject* type = Py_TYPE(object);
  type->tp_free(object);
  Py_DECREF(type);
}

TokenObject* self_of(PyObject* object) { return reinterpret_cast<TokenObject*>(object); }

// Ends the node with `value`, or with `error` when value is null; both are borrowed.
void end_node(TokenObject* self, PyObject* value, PyObject* error) {
  RunBlock* block = std::exchange(self->block, nullptr);
  --open_tokens;
  reinterpret_cast<MarkObject*>(self->mark)->token = nullptr;
  Py_CLEAR(self->on_cancel);
  Py_CLEAR(self->task);
  const auto given = block->run.plan().node(self->node).given;
  EachPart* const part = self->part;
  NodeRecord& record = part != nullptr ? part->record(self->item) : block->records[given];
  record.ended_ns = block->runtime->now_ns();
  record.outcome = value != nullptr ? base::Outcome::kOk : base::Outcome::kFailed;
  (*block->plan->specs)[given].step->record(record.ended_ns - record.started_ns, value == nullptr, true);
  TokenObject** link = &block->tokens;
  while (*link != self) link = &(*link)->next;
  *link = self->next;
  if (part != nullptr) {
    end_item(*part, self->item, Py_XNewRef(value), value == nullptr ? Py_NewRef(error) : nullptr);
    go_on_after_item(*part);
    return block->run.release();
  }
  if (!block->run.ending.is_open()) {
    ++block->runtime->state->ledger.late;
  } else if (value != nullptr) {
    block->values[block->plan->arg_count + static_cast<int>(given)] = Py_NewRef(value);
  }
  if (value == nullptr) {
    keep_failure(*block, Py_NewRef(error), static_cast<int>(given), -1);
    block->run.settle(outcome_of(*block));
  }
  go_on_shortly(block, block->run.finish(self->node, false, nullptr));
  block->run.release();
}

PyObject* token_finish(PyObject* object, PyObject* value) {
  if (self_of(object)->block == nullptr) return PyErr_Format(PyExc_RuntimeError, "this step is finished already");
  end_node(self_of(object), value, nullptr);
  Py_RETURN_NONE;
}

PyObject* token_fail(PyObject* object, PyObject* error) {
  if (self_of(object)->block == nullptr) return PyErr_Format(PyExc_RuntimeError, "this step is finished already");
  if (!PyExceptionInstance_Check(error)) {
    return PyErr_Format(PyExc_TypeError, "fail() takes an exception, got %R", error);
  }
  end_node(self_of(object), nullptr, error);
  Py_RETURN_NONE;
}

PyObject* token_on_cancel(PyObject* object, PyObject* const* args, Py_ssize_t given) {
  TokenObject* self = self_of(object);
  if (given != 2) return PyErr_Format(PyExc_TypeError, "on_cancel() takes a function and a task, got %zd", given);
  if (self->block == nullptr) Py_RETURN_NONE;
  PyObject* fn = args[0];
  self->ident = PyThread_get_thread_ident();
  PyObject* before = std::exchange(self->task, Py_NewRef(args[1]));
  Py_XDECREF(before);
  if (self->block->done()) return PyObject_CallNoArgs(fn);
  PyObject* old = std::exchange(self->on_cancel, Py_NewRef(fn));
  Py_XDECREF(old);
  Py_RETURN_NONE;
}

int token_traverse(PyObject* object, visitproc visit, void* arg) {
  Py_VISIT(Py_TYPE(object));
  Py_VISIT(self_of(object)->context);
  Py_VISIT(self_of(object)->on_cancel);
  Py_VISIT(self_of(object)->task);
  return 0;
}

int token_clear(PyObject* object) {
  Py_CLEAR(self_of(object)->on_cancel);
  Py_CLEAR(self_of(object)->task);
  Py_CLEAR(self_of(object)->context);
  return 0;
}

void token_finalize(PyObject* object) {
  TokenObject* self = self_of(object);
  if (self->block == nullptr) return;
  PyObject* raised = take_raised();
  const Ref error = Ref::steal(
      PyObject_CallFunction(PyExc_RuntimeError, "s", "the event loop dropped this async step before it had ended"));
  end_node(self, nullptr, error.get());
  if (raised != nullptr) raise(raised);
  Py_XDECREF(raised);
}

void token_dealloc(PyObject* object) {
  if (PyObject_CallFinalizerFromDealloc(object) < 0) return;
  PyObject_GC_UnTrack(object);
  PyTypeObject* type = Py_TYPE(object);
  token_clear(object);
  Py_CLEAR(self_of(object)->mark);
  Py_CLEAR(self_of(object)->runtime);
  Py_CLEAR(self_of(object)->workflow);
  Py_CLEAR(self_of(object)->step);
  type->tp_free(object);
  Py_DECREF(type);
}

PyObject* token_context(PyObject* object, void*) {
  PyObject* context = self_of(object)->context;
  return Py_NewRef(context != nullptr ? context : Py_None);
}
PyObject* token_runtime(PyObject* object, void*) {
  return Py_NewRef(reinterpret_cast<PyObject*>(self_of(object)->runtime));
}
PyObject* token_workflow(PyObject* object, void*) { return Py_NewRef(self_of(object)->workflow); }
PyObject* token_step(PyObject* object, void*) { return Py_NewRef(self_of(object)->step); }

PyMethodDef token_methods[] = {
    {"finish", guarded<token_finish>, METH_O, "finish($self, value, /)\n--\n\nThe step has returned `value`."},
    {"fail", guarded<token_fail>, METH_O, "fail($self, error, /)\n--\n\nThe step has raised `error`."},
    {"on_cancel", reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(guarded<token_on_cancel>)), METH_FASTCALL,
     "on_cancel($self, fn, task, /)\n--\n\nThe step runs as `task`, a weak reference; call fn() when the run ends "
     "before it does."},
    {nullptr, nullptr, 0, nullptr},
};
PyGetSetDef token_getset[] = {
    {"context", guarded<token_context>, nullptr, "The context of this attempt.", nullptr},
    {"runtime", guarded<token_runtime>, nullptr, "The runtime of the run.", nullptr},
    {"workflow", guarded<token_workflow>, nullptr, "The workflow's name.", nullptr},
    {"step", guarded<token_step>, nullptr, "The step's name.", nullptr},
    {nullptr, nullptr, nullptr, nullptr, nullptr},
};
PyType_Slot token_slots[] = {
    {Py_tp_dealloc, reinterpret_cast<void*>(guarded_dealloc<token_dealloc>)},
    {Py_tp_finalize, reinterpret_cast<void*>(guarded<token_finalize>)},
    {Py_tp_traverse, reinterpret_cast<void*>(token_traverse)},
    {Py_tp_clear, reinterpret_cast<void*>(token_clear)},
    {Py_tp_methods, token_methods},
    {Py_tp_getset, token_getset},
    {Py_tp_doc, const_cast<char*>("The right, and the duty, to finish one async step once.")},
    {0, nullptr},
};
PyType_Spec token_spec = {
    "tailrace._core.NodeToken", sizeof(TokenObject), 0,
    Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    token_slots};

PyType_Slot mark_slots[] = {{Py_tp_dealloc, reinterpret_cast<void*>(guarded_dealloc<mark_dealloc>)}, {0, nullptr}};
PyType_Spec mark_spec = {"tailrace._core._Mark", sizeof(MarkObject), 0,
                         Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE | Py_TPFLAGS_DISALLOW_INSTANTIATION, mark_slots};

// Puts a mark of `self` into its context.
bool mark_context(TokenObject* self) {
  if ((self->mark = mark_type->tp_alloc(mark_type, 0)) == nullptr || PyContext_Enter(self->context) != 0) return false;
  const Ref token = Ref::steal(PyContextVar_Set(mark_variable, self->mark));
  if (PyContext_Exit(self->context) != 0 || !token) return false;
  reinterpret_cast<MarkObject*>(self->mark)->token = self;
  return true;
}

// The body's arguments as (args, kwargs); null kwargs when there are none.
bool gather_arguments(const NodeSpec& spec, RunBlock* block, PyObject* item, Ref& args, Ref& kwargs) {
  const auto n = static_cast<Py_ssize_t>(spec.slots.size());
  const Py_ssize_t keywords = spec.kwnames != nullptr ? PyTuple_GET_SIZE(spec.kwnames) : 0;
  args = Ref::steal(PyTuple_New(n - keywords));
  if (!args || (keywords > 0 && !(kwargs = Ref::steal(PyDict_New())))) return false;
  for (Py_ssize_t i = 0; i < n; ++i) {
    const auto place = static_cast<std::size_t>(i);
    PyObject* value = spec.slots[place] >= 0 ? block->values[spec.slots[place]] : spec.consts[place];
    if (i == 0 && item != nullptr) value = item;
    if (i < n - keywords) {
      PyTuple_SET_ITEM(args.get(), i, Py_NewRef(value));
    } else if (PyDict_SetItem(kwargs.get(), PyTuple_GET_ITEM(spec.kwnames, i - (n - keywords)), value) != 0) {
      return false;
    }
  }
  return true;
}

}  // namespace

void launch_async(RunBlock* block, flow::NodeIndex node, EachPart* part, Py_ssize_t item) {
  const auto& spec = *static_cast<const NodeSpec*>(block->run.plan().node(node).arg);
  const auto given = block->run.plan().node(node).given;
  NodeRecord& record = part != nullptr ? part->record(item) : block->records[given];
  record.started_ns = block->runtime->now_ns();
  record.thread = block->runtime->debug && block->loop == nullptr ? "caller" : "loop";

  Ref context = Ref::steal(PyContext_Copy(block->context));
  Ref object = Ref::steal(context ? token_type->tp_alloc(token_type, 0) : nullptr);
  if (object) self_of(object.get())->context = context.release();
  if (!object || !mark_context(self_of(object.get()))) {
    PyObject* error = take_raised();
    if (part != nullptr) return end_item(*part, item, nullptr, error);
    keep_failure(*block, error, static_cast<int>(given), -1);
    block->run.settle(outcome_of(*block));
    return go_on_shortly(block, block->run.finish(node, false, nullptr));
  }
  TokenObject* self = self_of(object.get());
  self->node = node;
  self->part = part;
  self->item = item;
  ++open_tokens;
  self->runtime = reinterpret_cast<RuntimeObject*>(Py_NewRef(reinterpret_cast<PyObject*>(block->runtime)));
  self->workflow = Py_NewRef(block->plan->name);
  self->step = Py_NewRef(spec.label);
  self->block = block;
  block->run.retain();
  self->next = std::exchange(block->tokens, self);

  Ref args;
  Ref kwargs;
  Ref done;
  PyObject* const replaced = part != nullptr ? PyTuple_GET_ITEM(part->items, item) : nullptr;
  if (gather_arguments(spec, block, replaced, args, kwargs)) {
    done = Ref::steal(PyObject_CallFunctionObjArgs(hooks.launch_async, object.get(),
                                                   block->loop != nullptr ? block->loop : Py_None, spec.step->fn,
                                                   args.get(), kwargs ? kwargs.get() : Py_None, nullptr));
  }
  if (done) return;
  const Ref error = Ref::steal(take_raised());
  if (self->block != nullptr) end_node(self, nullptr, error.get());
}

void cancel_tokens(RunBlock* block) {
  const Ref to_call = Ref::steal(PyList_New(0));  // first: a callback may finish a token and so change the list
  for (TokenObject* token = block->tokens; to_call && token != nullptr; token = token->next) {
    const Ref fn = Ref::steal(std::exchange(token->on_cancel, nullptr));
    if (fn) PyList_Append(to_call.get(), fn.get());
  }
  for (Py_ssize_t i = 0; to_call && i < PyList_GET_SIZE(to_call.get()); ++i) {
    PyObject* fn = PyList_GET_ITEM(to_call.get(), i);
    const Ref ignored = Ref::steal(PyObject_CallNoArgs(fn));
    if (!ignored) PyErr_WriteUnraisable(fn);
  }
}

TokenObject* running_token() noexcept {
  if (open_tokens == 0) return nullptr;
  PyObject* mark = nullptr;
  if (PyContextVar_Get(mark_variable, nullptr, &mark) != 0) return PyErr_Clear(), nullptr;
  if (mark == nullptr) return nullptr;
  TokenObject* token = Py_IS_TYPE(mark, mark_type) ? reinterpret_cast<MarkObject*>(mark)->token : nullptr;
  Py_DECREF(mark);
  return token;
}

TokenObject* token_held_up_here() noexcept {
  TokenObject* token = top_frame == nullptr ? running_token() : nullptr;
  return token != nullptr && token->ident == PyThread_get_thread_ident() ? token : nullptr;
}

void bind_token(PyObject* module) {
  token_type = add_type(module, token_spec);
  mark_type = reinterpret_cast<PyTypeObject*>(PyType_FromSpec(&mark_spec));
  mark_variable = PyContextVar_New("tailrace.async_step", nullptr);
  if (mark_type == nullptr || mark_variable == nullptr) throw py::error_already_set();
}

}  // namespace tailrace::bindings
