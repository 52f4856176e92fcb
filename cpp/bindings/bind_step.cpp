// bind_step.cpp -- `_core.Step`.
#include "bindings.hpp"

#include <structmember.h>

#include "native_step.hpp"
#include "step.hpp"

namespace tailrace::bindings {

PyTypeObject* step_type = nullptr;

namespace {

StepObject* self_of(PyObject* object) { return reinterpret_cast<StepObject*>(object); }

PyObject* step_new(PyTypeObject* type, PyObject* args, PyObject* kwargs) {
  static const char* keywords[] = {"fn", "name", "kind", "gil", "place", nullptr};
  PyObject* fn = nullptr;
  PyObject* name = nullptr;
  int kind = 0;
  int gil = 0;
  int place = 0;
  if (!PyArg_ParseTupleAndKeywords(args, kwargs, "OUi|ii:Step", const_cast<char**>(keywords), &fn, &name, &kind, &gil,
                                   &place)) {
    return nullptr;
  }
  if (!PyCallable_Check(fn)) return PyErr_Format(PyExc_TypeError, "a step needs a callable, got %R", fn);
  if (kind < 0 || kind > 2) return PyErr_Format(PyExc_ValueError, "kind must be SYNC, ASYNC or BLOCKING, got %d", kind);
  if (gil < 0 || gil > 2)
    return PyErr_Format(PyExc_ValueError, "gil must be 0 (auto), 1 (holds) or 2 (releases), got %d", gil);
  if (place < 0 || place > 2) {
    return PyErr_Format(PyExc_ValueError, "place must be 0 (anywhere), 1 (here) or 2 (a worker), got %d", place);
  }
  PyObject* object = type->tp_alloc(type, 0);
  if (object == nullptr) return nullptr;
  StepObject* self = self_of(object);
  self->fn = Py_NewRef(fn);
  self->name = Py_NewRef(name);
  self->kind = kind;
  self->gil = static_cast<GilUse>(gil);
  self->where = static_cast<StepPlace>(place);
  self->virtual_cost_s = 0.0;
  self->cost = Cost{};
  self->failures = 0;
  self->at_once = 0;
  self->histogram = new metrics::Histogram{};
  self->queue_time = new metrics::Histogram{};
  return object;
}

int step_traverse(PyObject* object, visitproc visit, void* arg) {
  Py_VISIT(Py_TYPE(object));
  Py_VISIT(self_of(object)->fn);
  return 0;
}

int step_clear(PyObject* object) {
  Py_CLEAR(self_of(object)->fn);
  return 0;
}

void step_dealloc(PyObject* object) {
  PyObject_GC_UnTrack(object);
  PyTypeObject* type = Py_TYPE(object);
  step_clear(object);
  Py_CLEAR(self_of(object)->name);
  delete self_of(object)->histogram;
  delete self_of(object)->native;
  delete self_of(object)->queue_time;
  type->tp_free(object);
  Py_DECREF(type);
}

const char* gil_name(const StepObject& self) {
  if (self.gil != GilUse::kAuto) return self.gil == GilUse::kHolds ? "holds" : "releases";
  return !self.cost.released_known() ? "unknown" : self.cost.released >= kWorthShare ? "releases" : "holds";
}

// Of the waits from ready to begun; those that were none are only counted.
double queued_s(const StepObject& self, double quantile) {
  const std::uint64_t waited = self.queue_time->count();
  const double all = static_cast<double>(waited + self.at_once);
  const double among = (quantile * all - static_cast<double>(self.at_once)) / static_cast<double>(waited);
  return waited == 0 || among <= 0 ? 0.0 : static_cast<double>(self.queue_time->percentile(among)) * 1e-9;
}

PyObject* step_statistics(PyObject* object, PyObject*) {
  const StepObject& self = *self_of(object);
  const auto seconds = [](std::uint64_t ns) { return static_cast<double>(ns) * 1e-9; };
  const metrics::Histogram& ran = *self.histogram;
  PyObject* released = self.cost.released_known() ? PyFloat_FromDouble(self.cost.released) : Py_NewRef(Py_None);
  return Py_BuildValue("{s:K,s:K,s:d,s:d,s:d,s:d,s:d,s:d,s:d,s:s,s:N}", "calls",
                       static_cast<unsigned long long>(self.cost.calls), "failures",
                       static_cast<unsigned long long>(self.failures), "mean_s",
                       self.cost.mean_ns < 0 ? 0.0 : static_cast<double>(self.cost.mean_ns) * 1e-9, "p50_s",
                       seconds(ran.percentile(0.5)), "p99_s", seconds(ran.percentile(0.99)), "max_s",
                       seconds(ran.max()), "queue_p50_s", queued_s(self, 0.5), "queue_p99_s", queued_s(self, 0.99),
                       "queue_max_s", seconds(self.queue_time->max()), "gil", gil_name(self), "gil_released", released);
}

PyMethodDef step_methods[] = {
    {"statistics", guarded<step_statistics>, METH_NOARGS, "Calls, failures and durations in seconds, as a dictionary."},
    {nullptr, nullptr, 0, nullptr},
};

PyMemberDef step_members[] = {
    {"fn", T_OBJECT_EX, offsetof(StepObject, fn), READONLY, "The step's body."},
    {"name", T_OBJECT_EX, offsetof(StepObject, name), READONLY, "The step's name."},
    {"kind", T_INT, offsetof(StepObject, kind), READONLY, "SYNC, ASYNC or BLOCKING."},
    {"virtual_cost_s", T_DOUBLE, offsetof(StepObject, virtual_cost_s), 0, "Seconds it takes in a virtual runtime."},
    {nullptr, 0, 0, 0, nullptr},
};

PyType_Slot step_slots[] = {
    {Py_tp_new, reinterpret_cast<void*>(guarded<step_new>)},
    {Py_tp_dealloc, reinterpret_cast<void*>(guarded_dealloc<step_dealloc>)},
    {Py_tp_traverse, reinterpret_cast<void*>(step_traverse)},
    {Py_tp_clear, reinterpret_cast<void*>(step_clear)},
    {Py_tp_methods, step_methods},
    {Py_tp_members, step_members},
    {Py_tp_doc, const_cast<char*>("A step body with what is learnt about it.")},
    {0, nullptr},
};
PyType_Spec step_spec = {"tailrace._core.Step", sizeof(StepObject), 0,
                         Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE, step_slots};

}  // namespace

void bind_step(PyObject* module) { step_type = add_type(module, step_spec); }

}  // namespace tailrace::bindings
