#include "cpu/native_slot.hpp"

#include <pybind11/stl.h>

#include <array>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace tailrace::kernels {
namespace {

constexpr char kBoundName[] = "tailrace.kernels.Bound";
constexpr char kFunctionName[] = "int64_t (void *)";  // what tr.native_step asks of a capsule

struct Slot {
  std::shared_ptr<const Bound> bound;
  std::size_t batch = 0;
  std::size_t fields = 0;
  std::array<std::size_t, kMostFields> offsets{};
};

std::array<Slot, kNativeSlots> slots;

template <std::size_t I>
std::int64_t call(void* record) noexcept {
  const Slot& slot = slots[I];
  std::byte* fields[kMostFields];
  for (std::size_t f = 0; f < slot.fields; ++f) fields[f] = static_cast<std::byte*>(record) + slot.offsets[f];
  try {
    return slot.bound->run(fields, slot.batch) ? 1 : 0;
  } catch (...) {
    return 0;  // C has no exceptions; the step fails
  }
}

using Function = std::int64_t (*)(void*);

template <std::size_t... I>
constexpr std::array<Function, sizeof...(I)> functions_of(std::index_sequence<I...>) {
  return {&call<I>...};
}

constexpr auto kFunctions = functions_of(std::make_index_sequence<kNativeSlots>{});

void give_back(PyObject* capsule) {
  auto* slot = static_cast<Slot*>(PyCapsule_GetContext(capsule));
  if (slot != nullptr) *slot = Slot{};
}

py::object native_slot(const py::capsule& bound, std::size_t batch, const std::vector<std::size_t>& offsets) {
  auto* shared = bound.get_pointer<std::shared_ptr<const Bound>>();
  if (shared == nullptr || std::string(bound.name()) != kBoundName)
    throw py::type_error("native_slot takes what _bound() of a bound op returns");
  if (offsets.size() > kMostFields) throw py::value_error("a record of a bound op has at most 8 fields");
  for (std::size_t i = 0; i < kNativeSlots; ++i) {
    if (slots[i].bound != nullptr) continue;
    PyObject* capsule = PyCapsule_New(reinterpret_cast<void*>(kFunctions[i]), kFunctionName, &give_back);
    if (capsule == nullptr) throw py::error_already_set();
    slots[i].bound = *shared;
    slots[i].batch = batch;
    slots[i].fields = offsets.size();
    for (std::size_t f = 0; f < offsets.size(); ++f) slots[i].offsets[f] = offsets[f];
    PyCapsule_SetContext(capsule, &slots[i]);
    return py::reinterpret_steal<py::object>(capsule);
  }
  throw std::runtime_error(
      "256 native functions of bound ops are live, which is the limit: make one per op and batch "
      "size and keep it, instead of one per call");
}

std::size_t live_slots() {
  std::size_t live = 0;
  for (const Slot& slot : slots) live += slot.bound != nullptr;
  return live;
}

}  // namespace

py::capsule bound_capsule(std::shared_ptr<const Bound> bound) {
  auto* held = new std::shared_ptr<const Bound>(std::move(bound));
  return py::capsule(held, kBoundName,
                     [](void* pointer) { delete static_cast<std::shared_ptr<const Bound>*>(pointer); });
}

void bind_native_slot(py::module_& m) {
  m.def("native_slot", &native_slot, py::arg("bound"), py::arg("batch"), py::arg("offsets"),
        "A C function for a bound op: a capsule that tr.native_step takes.");
  m.def("live_slots", &live_slots, "How many C functions of bound ops are live, of 256.");
}

}  // namespace tailrace::kernels
