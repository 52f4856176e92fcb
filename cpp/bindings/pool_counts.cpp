// GIL       Held: it makes Python objects.
// Lifetime  Nothing is kept.
#include <cerrno>
#include <system_error>

#include "pool_methods.hpp"
#include "tailrace/pool/scheduler_blocks.hpp"

#include "pybind.hpp"

namespace tailrace::bindings {

namespace {

PoolObject* self_of(PyObject* object) { return reinterpret_cast<PoolObject*>(object); }

py::dict counts_of(const Tag& tag) {
  py::dict d;
  // relaxed, all: counts
  const std::size_t limit = tag.limit_bytes.load(base::relaxed);
  d["limit_bytes"] = limit == SIZE_MAX ? py::object(py::none()) : py::int_(limit);
  d["used_bytes"] = tag.used_bytes.load(base::relaxed);
  d["peak_used_bytes"] = tag.peak_used_bytes.load(base::relaxed);
  d["n_alloc"] = tag.n_alloc.load(base::relaxed);
  d["n_free"] = tag.n_free.load(base::relaxed);
  d["n_refused"] = tag.n_refused.load(base::relaxed);
  return d;
}

py::dict as_dict(const pool::PoolStatistics& s) {
  py::dict d;
  d["limit_bytes"] = s.limit_bytes;
  d["reserved_bytes"] = s.reserved_bytes;
  d["committed_bytes"] = s.committed_bytes;
  d["peak_committed_bytes"] = s.peak_committed_bytes;
  d["used_bytes"] = s.used_bytes;
  d["peak_used_bytes"] = s.peak_used_bytes;
  d["cached_bytes"] = s.cached_bytes;
  d["retained_bytes"] = s.retained_bytes;
  d["largest_free_bytes"] = s.largest_free_bytes;
  d["frag_ratio"] = s.frag_ratio;
  d["n_alloc"] = s.n_alloc;
  d["n_free"] = s.n_free;
  d["n_remote_free"] = s.n_remote_free;
  d["n_miss"] = s.n_miss;
  d["hit_ratio"] = s.hit_ratio;
  d["n_purge"] = s.n_purge;
  d["purged_bytes"] = s.purged_bytes;
  d["n_shortage"] = s.n_shortage;
  d["n_exhausted"] = s.n_exhausted;
  d["n_caches"] = s.n_caches;
  py::list classes;
  for (const auto& one : s.classes) {
    py::dict c;
    c["block_bytes"] = one.block_bytes;
    c["n_alloc"] = one.n_alloc;
    c["n_free"] = one.n_free;
    classes.append(c);
  }
  d["classes"] = classes;
  return d;
}

// What pybind11's objects throw becomes the exception that is set.
template <class F>
PyObject* made_by(F&& make) {
  try {
    return make().release().ptr();
  } catch (py::error_already_set& error) {
    error.restore();
  } catch (const std::bad_alloc&) {
    PyErr_NoMemory();
  }
  return nullptr;
}

}  // namespace

PyObject* pool_statistics(PyObject* object, PyObject*) {
  return made_by([&] {
    const PoolState& state = *self_of(object)->state;
    py::dict d = as_dict(state.pool.statistics());
    py::dict tags;
    for (const auto& [name, tag] : state.tags) tags[py::str(name)] = counts_of(tag);
    d["tags"] = tags;
    return d;
  });
}

PyObject* run_memory(PyObject*, PyObject*) {
  return made_by([] {
    py::dict d = as_dict(pool::scheduler_blocks().statistics());
    d["tags"] = py::dict{};
    return d;
  });
}

PyObject* pool_shortage(PyObject* object, PyObject* wanted) {
  const std::size_t bytes = PyLong_AsSize_t(wanted);
  if (PyErr_Occurred() != nullptr) return nullptr;
  return made_by([&] {
    const pool::Shortage s = self_of(object)->state->pool.shortage(bytes);
    py::dict d;
    d["bytes"] = s.bytes;
    d["limit_bytes"] = s.limit_bytes;
    d["used_bytes"] = s.used_bytes;
    d["cached_bytes"] = s.cached_bytes;
    d["largest_free_bytes"] = s.largest_free_bytes;
    d["closed"] = s.closed;
    return d;
  });
}

// tag_raw(name, limit): limit < 0 leaves it as it is.
PyObject* pool_tag(PyObject* object, PyObject* args) {
  PyObject* name = nullptr;
  Py_ssize_t limit = 0;
  Tag* tag = nullptr;
  if (!PyArg_ParseTuple(args, "On:tag_raw", &name, &limit) || !find_tag(self_of(object), name, &tag)) return nullptr;
  // relaxed: a bound that each allocation reads anew
  if (limit >= 0) tag->limit_bytes.store(static_cast<std::size_t>(limit), base::relaxed);
  Py_RETURN_NONE;
}

PyObject* pool_open_scope(PyObject* object, PyObject*) { return PyLong_FromLong(self_of(object)->state->meter.open()); }

// (n_alloc, n_free, allocated_bytes, live_bytes, peak of live_bytes in the scope)
PyObject* pool_read_scope(PyObject* object, PyObject* scope) {
  const long number = PyLong_AsLong(scope);
  if (PyErr_Occurred() != nullptr) return nullptr;
  const Meter& meter = self_of(object)->state->meter;
  const Meter::Reading now = meter.read();
  return Py_BuildValue("KKKLL", static_cast<unsigned long long>(now.n_alloc),
                       static_cast<unsigned long long>(now.n_free),
                       static_cast<unsigned long long>(now.allocated_bytes), static_cast<long long>(now.live_bytes),
                       static_cast<long long>(meter.peak(static_cast<int>(number))));
}

PyObject* pool_close_scope(PyObject* object, PyObject* scope) {
  const long number = PyLong_AsLong(scope);
  if (PyErr_Occurred() != nullptr) return nullptr;
  self_of(object)->state->meter.close(static_cast<int>(number));
  Py_RETURN_NONE;
}

PyObject* pool_start_trace(PyObject* object, PyObject* path) {
  const char* const name = PyUnicode_AsUTF8(path);
  if (name == nullptr) return nullptr;
  try {
    return PyBool_FromLong(self_of(object)->state->start_trace(name));
  } catch (const std::system_error& error) {
    errno = error.code().value();
    return PyErr_SetFromErrnoWithFilenameObject(PyExc_OSError, path);
  } catch (const std::bad_alloc&) {
    return PyErr_NoMemory();
  }
}

PyObject* pool_stop_trace(PyObject* object, PyObject*) { return PyBool_FromLong(self_of(object)->state->stop_trace()); }

}  // namespace tailrace::bindings
