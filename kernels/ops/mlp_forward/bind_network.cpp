// GIL       Let go of when the layers take longer than 20 us, by their multiply-adds.
// Lifetime  A Network holds copies of all that it needs; C functions made of it share it.
#include <Python.h>
#include <structmember.h>  // behind Python.h

#include <new>

#include "cpu/native_slot.hpp"
#include "cpu/released.hpp"
#include "ops/mlp_forward/bound.hpp"
#include "ops/mlp_forward/layers.hpp"

namespace tailrace::kernels {
namespace {

struct BoundNetwork : Bound {
  explicit BoundNetwork(Network n) : network(std::move(n)) {}

  bool run(std::byte* const* fields, std::size_t batch) const override {
    try {
      network.run(reinterpret_cast<const float*>(fields[0]), reinterpret_cast<float*>(fields[1]), batch);
      return true;
    } catch (const std::bad_alloc&) {  // of the thread's scratch memory, at its first call
      return false;
    }
  }

  Network network;
};

struct NetworkObject {
  PyObject_HEAD
  vectorcallfunc vectorcall;
  std::shared_ptr<const BoundNetwork> bound;
};

NetworkObject& object_of(PyObject* self) { return *reinterpret_cast<NetworkObject*>(self); }

constexpr int kReadable = py::detail::npy_api::NPY_ARRAY_C_CONTIGUOUS_ | py::detail::npy_api::NPY_ARRAY_ALIGNED_;
constexpr int kWritable = kReadable | py::detail::npy_api::NPY_ARRAY_WRITEABLE_;

// Exactly what a kernel can take, without a word about what is wrong: float32 [any, columns].
const py::detail::PyArray_Proxy* floats(PyObject* object, std::size_t columns, int flags) {
  auto& api = py::detail::npy_api::get();
  if (Py_TYPE(object) != api.PyArray_Type_) return nullptr;
  const auto* array = py::detail::array_proxy(object);
  const bool fits = array->nd == 2 && (array->flags & flags) == flags && type_number(object) == kTypeNumber<float> &&
                    static_cast<std::size_t>(array->dimensions[1]) == columns;
  return fits ? array : nullptr;
}

PyObject* new_floats(std::size_t rows, std::size_t columns) {
  auto& api = py::detail::npy_api::get();
  const Py_intptr_t shape[] = {static_cast<Py_intptr_t>(rows), static_cast<Py_intptr_t>(columns)};
  return api.PyArray_NewFromDescr_(api.PyArray_Type_, api.PyArray_DescrFromType_(kTypeNumber<float>), 2, shape, nullptr,
                                   nullptr, 0, nullptr);
}

// (x) or (x, out=out); otherwise x is null.
struct Arguments {
  PyObject* x = nullptr;
  PyObject* out = Py_None;
  Arguments(PyObject* const* args, std::size_t nargsf, PyObject* names) {
    const Py_ssize_t positional = PyVectorcall_NARGS(nargsf);
    const Py_ssize_t named = names == nullptr ? 0 : PyTuple_GET_SIZE(names);
    if (positional != 1 || named > 1) return;
    if (named == 1) {
      if (PyUnicode_CompareWithASCIIString(PyTuple_GET_ITEM(names, 0), "out") != 0) return;
      out = args[1];
    }
    x = args[0];
  }
};

PyObject* explain(PyObject* self, PyObject* const* args, std::size_t nargsf, PyObject* names) {
  py::object method = py::reinterpret_steal<py::object>(PyObject_GetAttrString(self, "_call"));
  if (!method) return nullptr;
  return PyObject_Vectorcall(method.ptr(), args, static_cast<std::size_t>(PyVectorcall_NARGS(nargsf)), names);
}

PyObject* call(PyObject* self, PyObject* const* args, std::size_t nargsf, PyObject* names) {
  const Network& network = object_of(self).bound->network;
  const Arguments given(args, nargsf, names);
  const auto* x = given.x == nullptr ? nullptr : floats(given.x, network.inputs(), kReadable);
  if (x == nullptr || x->dimensions[0] == 0) return explain(self, args, nargsf, names);
  const auto rows = static_cast<std::size_t>(x->dimensions[0]);
  PyObject* result = nullptr;
  if (given.out == Py_None) {
    result = new_floats(rows, network.outputs());
    if (result == nullptr) return nullptr;
  } else {
    const auto* out = floats(given.out, network.outputs(), kWritable);
    if (out == nullptr || static_cast<std::size_t>(out->dimensions[0]) != rows ||
        overlap(static_cast<const float*>(static_cast<const void*>(x->data)), rows * network.inputs(),
                static_cast<const float*>(static_cast<const void*>(out->data)), rows * network.outputs()))
      return explain(self, args, nargsf, names);
    result = Py_NewRef(given.out);
  }
  const auto* from = static_cast<const float*>(static_cast<const void*>(x->data));
  auto* to = static_cast<float*>(static_cast<void*>(py::detail::array_proxy(result)->data));
  try {
    const std::vector<Layer>& layers = network.layers();
    Released free(estimated_ns(layers.data(), layers.size(), rows));
    network.run(from, to, rows);
  } catch (const std::bad_alloc&) {
    Py_DECREF(result);
    return PyErr_NoMemory();
  }
  return result;
}

PyObject* make(PyTypeObject* type, PyObject* args, PyObject* named) {
  static const char* keywords[] = {"layers", "activation", nullptr};
  PyObject* given = nullptr;
  int activation = 0;
  if (!PyArg_ParseTupleAndKeywords(args, named, "O!i", const_cast<char**>(keywords), &PyList_Type, &given, &activation))
    return nullptr;
  try {
    auto bound = std::make_shared<const BoundNetwork>(Network(read_layers(given), activation_of(activation)));
    PyObject* self = type->tp_alloc(type, 0);
    if (self == nullptr) return nullptr;
    object_of(self).vectorcall = &call;
    new (&object_of(self).bound) std::shared_ptr<const BoundNetwork>(std::move(bound));
    return self;
  } catch (py::error_already_set& error) {
    error.restore();
  } catch (const py::builtin_exception& error) {
    error.set_error();
  } catch (const std::bad_alloc&) {
    PyErr_NoMemory();
  } catch (const std::exception& error) {
    PyErr_SetString(PyExc_TypeError, error.what());
  }
  return nullptr;
}

void unmake(PyObject* self) {
  PyTypeObject* type = Py_TYPE(self);
  std::destroy_at(&object_of(self).bound);
  type->tp_free(self);
  Py_DECREF(type);
}

PyObject* bound_of(PyObject* self, PyObject*) {
  try {
    return bound_capsule(object_of(self).bound).release().ptr();
  } catch (py::error_already_set& error) {
    error.restore();
    return nullptr;
  }
}

PyMemberDef members[] = {{"__vectorcalloffset__", T_PYSSIZET, offsetof(NetworkObject, vectorcall), READONLY, nullptr},
                         {nullptr, 0, 0, 0, nullptr}};

PyMethodDef methods[] = {{"_bound", &bound_of, METH_NOARGS, "The network for native_slot."},
                         {nullptr, nullptr, 0, nullptr}};

PyType_Slot slots[] = {{Py_tp_new, reinterpret_cast<void*>(&make)},
                       {Py_tp_dealloc, reinterpret_cast<void*>(&unmake)},
                       {Py_tp_call, reinterpret_cast<void*>(&PyVectorcall_Call)},
                       {Py_tp_members, members},
                       {Py_tp_methods, methods},
                       {Py_tp_doc, const_cast<char*>("Layers, packed once; called with (x, *, out=None).")},
                       {0, nullptr}};

PyType_Spec spec = {"tailrace.kernels._cpu.Network", sizeof(NetworkObject), 0,
                    Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_VECTORCALL, slots};

}  // namespace

void bind_network(py::module_& m) {
  const auto type = py::reinterpret_steal<py::object>(PyType_FromSpec(&spec));
  if (!type) throw py::error_already_set();
  m.attr("Network") = type;
}

}  // namespace tailrace::kernels
