// array.hpp -- NumPy arrays as kernels want them: typed, C-contiguous, read in some nanoseconds.
//
// What      `read_array<const float>(object, 2)` and `read_array<float>(out, 2)`: a view, after the checks of type, rank, layout.
// Why       The buffer protocol costs 100 ns an array, py::array_t a copy when the type differs; a kernel of 5 us can have neither.
//           The face has checked before and explains; here a wrong array only must not get through.
// Threads   With the GIL held. The view lives as long as the array.
// Checked   tests/kernels/test_checks.py gives wrong types, ranks, layouts, byte orders, read-only outputs.
#pragma once

#include <pybind11/numpy.h>

#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "cpu/half.hpp"

namespace tailrace::kernels {

namespace py = pybind11;

template <class T>
inline constexpr int kTypeNumber = -1;
template <>
inline constexpr int kTypeNumber<float> = py::detail::npy_api::NPY_FLOAT_;
template <>
inline constexpr int kTypeNumber<double> = py::detail::npy_api::NPY_DOUBLE_;
template <>
inline constexpr int kTypeNumber<Half> = 23;
template <>
inline constexpr int kTypeNumber<BFloat16> = py::detail::npy_api::NPY_UINT16_;
template <>
inline constexpr int kTypeNumber<bool> = py::detail::npy_api::NPY_BOOL_;
template <>
inline constexpr int kTypeNumber<std::int8_t> = py::detail::npy_api::NPY_INT8_;
template <>
inline constexpr int kTypeNumber<std::uint8_t> = py::detail::npy_api::NPY_UINT8_;
template <>
inline constexpr int kTypeNumber<std::int16_t> = py::detail::npy_api::NPY_INT16_;
template <>
inline constexpr int kTypeNumber<std::uint16_t> = py::detail::npy_api::NPY_UINT16_;
template <>
inline constexpr int kTypeNumber<std::int32_t> = py::detail::npy_api::NPY_INT_;
template <>
inline constexpr int kTypeNumber<std::uint32_t> = py::detail::npy_api::NPY_UINT_;
template <>
inline constexpr int kTypeNumber<std::int64_t> = py::detail::npy_api::NPY_LONG_;
template <>
inline constexpr int kTypeNumber<std::uint64_t> = py::detail::npy_api::NPY_ULONG_;

template <class T>
struct ArrayView {
  T* data = nullptr;
  const py::ssize_t* shape = nullptr;

  std::size_t extent(int axis) const { return static_cast<std::size_t>(shape[axis]); }
};

// What NumPy calls the type of an array's values; -1 for what is no array, or has the bytes of a value in another order.
inline int type_number(PyObject* object) {
  if (!py::detail::npy_api::get().PyArray_Check_(object)) return -1;
  const auto* type = py::detail::array_descriptor_proxy(py::detail::array_proxy(object)->descr);
  return type->byteorder == '=' || type->byteorder == '|' ? type->type_num : -1;
}

inline int type_number(py::handle object) { return type_number(object.ptr()); }

template <class T>
ArrayView<T> read_array(PyObject* object, int rank) {
  using Plain = std::remove_const_t<T>;
  static_assert(kTypeNumber<Plain> >= 0);
  constexpr int kReadable = py::detail::npy_api::NPY_ARRAY_C_CONTIGUOUS_ | py::detail::npy_api::NPY_ARRAY_ALIGNED_;
  constexpr int kWanted = std::is_const_v<T> ? kReadable : kReadable | py::detail::npy_api::NPY_ARRAY_WRITEABLE_;
  const int type = type_number(object);
  if (type < 0) throw py::type_error("a kernel takes NumPy arrays of this machine's byte order");
  const auto* array = py::detail::array_proxy(object);
  // long and long long are two names of one type here.
  const bool same =
      type == kTypeNumber<Plain> || (sizeof(Plain) == 8 && std::is_integral_v<Plain> && type == kTypeNumber<Plain> + 2);
  if (!same || array->nd != rank || (array->flags & kWanted) != kWanted)
    throw py::type_error("a kernel was given an array of another type, rank or layout than its op has checked");
  return {static_cast<T*>(static_cast<void*>(array->data)), array->dimensions};
}

template <class T>
ArrayView<T> read_array(py::handle object, int rank) {
  return read_array<T>(object.ptr(), rank);
}

}  // namespace tailrace::kernels
