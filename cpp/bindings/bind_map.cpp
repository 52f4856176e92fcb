// bind_map.cpp -- `_core.MapIterator`: the results of `Executor.map`, in order.
//
// GIL       __next__ lets go of it while it waits.
// Lifetime  To drop an iterator from which a result was asked for is to close it, as with the standard library's generator.
#include "core_section.hpp"
#include "map_job.hpp"

namespace tailrace::bindings {

namespace {

PyTypeObject* map_iterator_type = nullptr;

struct MapIterator {
  PyObject_HEAD
  MapJob* job;
  std::int64_t deadline_ns;
};

MapIterator* self_of(PyObject* object) { return reinterpret_cast<MapIterator*>(object); }

PyObject* iterator_next(PyObject* object) {
  MapIterator* self = self_of(object);
  return self->job != nullptr ? self->job->next(self->deadline_ns) : nullptr;
}

PyObject* iterator_close(PyObject* object, PyObject*) {
  if (self_of(object)->job != nullptr) self_of(object)->job->close();
  Py_RETURN_NONE;
}

int iterator_traverse(PyObject* object, visitproc visit, void* arg) {
  Py_VISIT(Py_TYPE(object));
  return self_of(object)->job != nullptr ? self_of(object)->job->traverse(visit, arg) : 0;
}

int iterator_clear(PyObject* object) {
  if (MapJob* job = std::exchange(self_of(object)->job, nullptr)) {
    if (job->started) job->close();
    job->release();
  }
  return 0;
}

void iterator_dealloc(PyObject* object) {
  PyObject_GC_UnTrack(object);
  PyTypeObject* type = Py_TYPE(object);
  iterator_clear(object);
  type->tp_free(object);
  Py_DECREF(type);
}

PyMethodDef iterator_methods[] = {
    {"close", guarded<iterator_close>, METH_NOARGS, "Give no further results; cancel what has not begun."},
    {nullptr, nullptr, 0, nullptr},
};
PyType_Slot iterator_slots[] = {
    {Py_tp_dealloc, reinterpret_cast<void*>(guarded_dealloc<iterator_dealloc>)},
    {Py_tp_traverse, reinterpret_cast<void*>(iterator_traverse)},
    {Py_tp_clear, reinterpret_cast<void*>(guarded<iterator_clear>)},
    {Py_tp_iter, reinterpret_cast<void*>(PyObject_SelfIter)},
    {Py_tp_iternext, reinterpret_cast<void*>(guarded<iterator_next>)},
    {Py_tp_methods, iterator_methods},
    {Py_tp_doc, const_cast<char*>("The results of `Executor.map`, in order.")},
    {0, nullptr},
};
PyType_Spec iterator_spec = {"tailrace._core.MapIterator", sizeof(MapIterator), 0,
                             Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION,
                             iterator_slots};

}  // namespace

PyObject* make_map_iterator(MapJob* job, std::int64_t deadline_ns) {
  PyObject* object = map_iterator_type->tp_alloc(map_iterator_type, 0);
  if (object == nullptr) return job->close(), job->release(), nullptr;
  self_of(object)->job = job;
  self_of(object)->deadline_ns = deadline_ns;
  return object;
}

void bind_map(PyObject* module) { map_iterator_type = add_type(module, iterator_spec); }

}  // namespace tailrace::bindings
