// bind_plan.cpp -- `_core.Plan`: checks the node tuples, compiles the graph, calls and starts it.
#include <algorithm>
#include <string>

#include "bindings.hpp"

#include <structmember.h>

#include "native_step.hpp"
#include "plan.hpp"
#include "run_block.hpp"
#include "runtime.hpp"

namespace tailrace::bindings {

PyTypeObject* plan_type = nullptr;
PyObject* make_run(RunBlock* block);  // bind_run.cpp
void free_block(RunBlock* block);     // run_block.cpp

namespace {

constexpr Py_ssize_t kMaxArguments = 255;

PlanObject* self_of(PyObject* object) { return reinterpret_cast<PlanObject*>(object); }

// Fills `spec` from (step, label, slots, consts, kwnames, after, is_each); false with an exception set.
bool read_spec(NodeSpec& spec, PyObject* tuple) {
  PyObject *step, *label, *slots, *consts, *kwnames, *after;
  int is_each = 0;
  if (!PyArg_ParseTuple(tuple, "O!UO!O!O!O!p", step_type, &step, &label, &PyTuple_Type, &slots, &PyTuple_Type, &consts,
                        &PyTuple_Type, &kwnames, &PyTuple_Type, &after, &is_each)) {
    return false;
  }
  const Py_ssize_t n = PyTuple_GET_SIZE(slots);
  if (n != PyTuple_GET_SIZE(consts) || n > kMaxArguments || PyTuple_GET_SIZE(kwnames) > n) {
    PyErr_Format(PyExc_ValueError, "step %R: slots and consts must have one length, at most %zd, and kwnames no more",
                 label, kMaxArguments);
    return false;
  }
  if (is_each != 0 && n == PyTuple_GET_SIZE(kwnames)) {
    PyErr_Format(PyExc_ValueError, "step %R: tr.each takes its items as the first positional argument", label);
    return false;
  }
  spec.is_each = is_each != 0;
  spec.step = reinterpret_cast<StepObject*>(Py_NewRef(step));
  spec.label = Py_NewRef(label);
  if (PyTuple_GET_SIZE(kwnames) > 0) spec.kwnames = Py_NewRef(kwnames);
  for (Py_ssize_t i = 0; i < n; ++i) {
    spec.slots.push_back(static_cast<int>(PyLong_AsLong(PyTuple_GET_ITEM(slots, i))));
    spec.consts.push_back(Py_NewRef(PyTuple_GET_ITEM(consts, i)));
  }
  for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(after); ++i) {
    spec.after.push_back(static_cast<int>(PyLong_AsLong(PyTuple_GET_ITEM(after, i))));
  }
  return PyErr_Occurred() == nullptr;
}

bool compile(PlanObject* self) {
  auto& specs = *self->specs;
  const auto n = static_cast<int>(specs.size());
  flow::PlanBuilder builder;
  for (auto& spec : specs) {
    // tr.each is begun where it becomes ready, and launches its items itself.
    const bool launched = spec.step->kind != static_cast<int>(StepKind::kSync) && !spec.is_each;
    self->has_async = self->has_async || spec.step->kind == static_cast<int>(StepKind::kAsync);
    builder.add(spec.native ? &run_native : &run_step, &spec, launched ? flow::Kind::kLaunch : flow::Kind::kInline);
  }
  try {
    for (int i = 0; i < n; ++i) {
      auto& spec = specs[static_cast<std::size_t>(i)];
      for (const int slot : spec.slots) {
        if (slot < -1 || slot >= self->arg_count + n) {
          PyErr_Format(PyExc_ValueError, "step %U: value slot %d is not one of %d", spec.label, slot,
                       self->arg_count + n);
          return false;
        }
        if (slot >= self->arg_count) {
          spec.before.push_back(slot - self->arg_count);
          builder.edge(static_cast<flow::NodeIndex>(slot - self->arg_count), static_cast<flow::NodeIndex>(i));
        }
      }
      for (const int before : spec.after) {
        spec.before.push_back(before);
        builder.edge(static_cast<flow::NodeIndex>(before), static_cast<flow::NodeIndex>(i));
      }
      std::sort(spec.before.begin(), spec.before.end());
      spec.before.erase(std::unique(spec.before.begin(), spec.before.end()), spec.before.end());
    }
    self->graph = new flow::Plan{builder.compile()};
  } catch (const flow::CycleError& error) {
    std::string text = "cycle: ";
    for (const auto node : error.nodes()) text += std::string{PyUnicode_AsUTF8(specs[node].label)} + " -> ";
    text += PyUnicode_AsUTF8(specs[error.nodes().front()].label);
    PyErr_SetString(PyExc_ValueError, text.c_str());
  } catch (const std::exception& error) {
    PyErr_SetString(PyExc_ValueError, error.what());
  }
  return self->graph != nullptr;
}

PyObject* plan_new(PyTypeObject* type, PyObject* args, PyObject* kwargs) {
  static const char* keywords[] = {"name", "arg_count", "nodes", "output", nullptr};
  PyObject* name = nullptr;
  PyObject* nodes = nullptr;
  int arg_count = 0;
  int output = -1;
  if (!PyArg_ParseTupleAndKeywords(args, kwargs, "UiOi:Plan", const_cast<char**>(keywords), &name, &arg_count, &nodes,
                                   &output)) {
    return nullptr;
  }
  Ref object = Ref::steal(type->tp_alloc(type, 0));
  if (!object) return nullptr;
  PlanObject* self = self_of(object.get());
  self->name = Py_NewRef(name);
  self->arg_count = arg_count;
  self->output = output;
  self->specs = new std::vector<NodeSpec>;
  const Ref sequence = Ref::steal(PySequence_Fast(nodes, "nodes must be a sequence of tuples"));
  if (!sequence) return nullptr;
  const Py_ssize_t n = PySequence_Fast_GET_SIZE(sequence.get());
  self->specs->resize(static_cast<std::size_t>(n));
  for (Py_ssize_t i = 0; i < n; ++i) {
    PyObject* item = PySequence_Fast_GET_ITEM(sequence.get(), i);
    if (!PyTuple_Check(item)) return PyErr_Format(PyExc_TypeError, "node %zd must be a tuple, got %R", i, item);
    if (!read_spec((*self->specs)[static_cast<std::size_t>(i)], item)) return nullptr;
  }
  if (arg_count < 0 || output < -1 || output >= arg_count + n) {
    return PyErr_Format(PyExc_ValueError, "arg_count %d or output %d is out of range", arg_count, output);
  }
  if (!prepare_native(self) || !compile(self)) return nullptr;
  return object.release();
}

int plan_traverse(PyObject* object, visitproc visit, void* arg) {
  Py_VISIT(Py_TYPE(object));
  if (self_of(object)->specs == nullptr) return 0;
  for (auto& spec : *self_of(object)->specs) {
    Py_VISIT(spec.step);
    for (PyObject* constant : spec.consts) Py_VISIT(constant);
  }
  return 0;
}

int plan_clear(PyObject* object) {
  PlanObject* self = self_of(object);
  if (self->specs == nullptr) return 0;
  for (auto& spec : *self->specs) {
    for (PyObject*& constant : spec.consts) Py_CLEAR(constant);
    Py_CLEAR(spec.step);
  }
  return 0;
}

void plan_dealloc(PyObject* object) {
  PyObject_GC_UnTrack(object);
  PyTypeObject* type = Py_TYPE(object);
  PlanObject* self = self_of(object);
  while (RunBlock* block = self->free_blocks) {
    self->free_blocks = block->next;
    free_block(block);
  }
  plan_clear(object);
  if (self->specs != nullptr) {
    for (auto& spec : *self->specs) {
      Py_CLEAR(spec.label);
      Py_CLEAR(spec.kwnames);
    }
  }
  delete self->specs;
  delete self->graph;
  Py_CLEAR(self->name);
  type->tp_free(object);
  Py_DECREF(type);
}

struct Call {
  RuntimeObject* runtime;
  PyObject* args;
  long priority;
  double deadline_s;
};

// (runtime, args, priority, deadline_s, ...): shared by call and start.
bool read_call(PlanObject* self, PyObject* const* args, Py_ssize_t given, Py_ssize_t wanted, Call& call) {
  if (given != wanted) return PyErr_Format(PyExc_TypeError, "expected %zd arguments, got %zd", wanted, given), false;
  if (!PyObject_TypeCheck(args[0], runtime_type)) {
    return PyErr_Format(PyExc_TypeError, "expected a runtime, got %R", args[0]), false;
  }
  if (reinterpret_cast<RuntimeObject*>(args[0])->state == nullptr) {
    return PyErr_Format(PyExc_RuntimeError, "this runtime was never set up"), false;
  }
  if (!PyTuple_Check(args[1]) || PyTuple_GET_SIZE(args[1]) != self->arg_count) {
    return PyErr_Format(PyExc_TypeError, "workflow %R takes a tuple of %d arguments, got %R", self->name,
                        self->arg_count, args[1]),
           false;
  }
  call = {reinterpret_cast<RuntimeObject*>(args[0]), args[1], PyLong_AsLong(args[2]), PyFloat_AsDouble(args[3])};
  if (PyErr_Occurred() != nullptr) return false;
  if (call.priority < 0 || call.priority >= sched::kPriorities) {
    return PyErr_Format(PyExc_ValueError, "priority must be 0, 1 or 2, got %ld", call.priority), false;
  }
  return true;
}

// Is an event loop running on this thread? asyncio is not imported to find out.
PyObject* running_loop() {
  static PyObject* get_running_loop = nullptr;
  if (get_running_loop == nullptr) {
    PyObject* events = PyDict_GetItemString(PyImport_GetModuleDict(), "asyncio.events");
    if (events == nullptr) return nullptr;
    get_running_loop = PyObject_GetAttrString(events, "_get_running_loop");
    if (get_running_loop == nullptr) return nullptr;
  }
  return PyObject_CallNoArgs(get_running_loop);
}

PyObject* plan_call(PyObject* object, PyObject* const* args, Py_ssize_t given) {
  PlanObject* self = self_of(object);
  Call call{};
  if (!read_call(self, args, given, 4, call)) return nullptr;
  if (self->has_async && !call.runtime->is_virtual) {
    const Ref loop = Ref::steal(running_loop());
    if (PyErr_Occurred() != nullptr) return nullptr;
    if (loop && loop.get() != Py_None) {
      return raise_hooked("async_on_loop", Py_BuildValue("{s:O}", "workflow", self->name)), nullptr;
    }
  }
  RunBlock* block = open_block(self, call.runtime, call.args, call.priority, call.deadline_s, 1);
  if (block == nullptr) return nullptr;
  block->retrieved = true;
  PyObject* value = wait_block(block, base::kNever, true) == 1 ? take_result(block) : nullptr;
  if (value == nullptr && !block->done()) {  // interrupted
    PyObject* raised = take_raised();
    cancel_block(block);
    raise(raised);
    Py_DECREF(raised);
  }
  block->run.release();
  return value;
}

PyObject* plan_start(PyObject* object, PyObject* const* args, Py_ssize_t given) {
  PlanObject* self = self_of(object);
  Call call{};
  if (!read_call(self, args, given, 5, call)) return nullptr;
  RunBlock* block = open_block(self, call.runtime, call.args, call.priority, call.deadline_s, 1);
  if (block == nullptr) return nullptr;
  const bool on_loop = args[4] != Py_None;
  if (on_loop) block->loop = Py_NewRef(args[4]);
  PyObject* run = make_run(block);
  if (run == nullptr) {
    cancel_block(block);
    start_block(block, false);
    block->run.release();
    return nullptr;
  }
  start_block(block, on_loop);
  return run;
}

PyObject* plan_node_count(PyObject* object, void*) { return PyLong_FromSize_t(self_of(object)->specs->size()); }
PyObject* plan_spreads_now(PyObject* object, PyObject*) { return PyBool_FromLong(plan_spreads(self_of(object))); }
PyObject* plan_has_async(PyObject* object, void*) { return PyBool_FromLong(self_of(object)->has_async); }

PyMethodDef plan_methods[] = {
    {"call", reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(guarded<plan_call>)), METH_FASTCALL,
     "call($self, rt, args, priority, deadline_s, /)\n--\n\nRun here, helping, and return the value."},
    {"start", reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(guarded<plan_start>)), METH_FASTCALL,
     "start($self, rt, args, priority, deadline_s, loop, /)\n--\n\nStart a run and return it."},
    {"spreads", guarded<plan_spreads_now>, METH_NOARGS,
     "Whether more than one thread could work on a run, as far as is known."},
    {nullptr, nullptr, 0, nullptr},
};
PyMemberDef plan_members[] = {
    {"name", T_OBJECT_EX, offsetof(PlanObject, name), READONLY, "The workflow's name."},
    {nullptr, 0, 0, 0, nullptr},
};
PyGetSetDef plan_getset[] = {
    {"node_count", guarded<plan_node_count>, nullptr, "How many steps the plan has.", nullptr},
    {"has_async", guarded<plan_has_async>, nullptr, "Whether a step of it runs on an event loop.", nullptr},
    {nullptr, nullptr, nullptr, nullptr, nullptr},
};
PyType_Slot plan_slots[] = {
    {Py_tp_new, reinterpret_cast<void*>(guarded<plan_new>)},
    {Py_tp_dealloc, reinterpret_cast<void*>(guarded_dealloc<plan_dealloc>)},
    {Py_tp_traverse, reinterpret_cast<void*>(plan_traverse)},
    {Py_tp_clear, reinterpret_cast<void*>(plan_clear)},
    {Py_tp_methods, plan_methods},
    {Py_tp_members, plan_members},
    {Py_tp_getset, plan_getset},
    {Py_tp_doc, const_cast<char*>("An immutable compiled graph of steps.")},
    {0, nullptr},
};
PyType_Spec plan_spec = {"tailrace._core.Plan", sizeof(PlanObject), 0,
                         Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE, plan_slots};

}  // namespace

namespace {

void refresh_estimate(PlanObject* plan) {
  constexpr std::uint32_t kRefresh = 32;
  if (plan->starts++ % kRefresh != 0) return;
  std::int64_t sum = 0;
  plan->spreads = false;
  for (const auto& spec : *plan->specs) {
    const StepObject& step = *spec.step;
    const bool inline_step = step.kind == static_cast<int>(StepKind::kSync);
    plan->spreads = plan->spreads || !inline_step || worth_another(spec);
    if (step.where == StepPlace::kHere) continue;
    const bool elsewhere = step.kind == static_cast<int>(StepKind::kBlocking) || step.where == StepPlace::kWorker;
    sum += elsewhere || !step.cost.known() ? kShortNs + 1 : inline_step ? step.cost.mean_ns : 0;
  }
  plan->is_short = sum <= kShortNs;
}

}  // namespace

bool plan_is_short(PlanObject* plan) { return refresh_estimate(plan), plan->is_short; }
bool plan_spreads(PlanObject* plan) { return refresh_estimate(plan), plan->spreads; }

void bind_plan(PyObject* module) { plan_type = add_type(module, plan_spec); }

}  // namespace tailrace::bindings
