// GIL       Let go of when the rows to read take longer than 20 us.
// Lifetime  The caller's arrays are borrowed for the call.
#include <string>

#include "cpu/array.hpp"
#include "cpu/released.hpp"
#include "ops/embedding_bag/cpu.hpp"

namespace tailrace::kernels {
namespace {

inline constexpr double kNsPerValue = 0.1;  // of rows that lie in a cache

void check(ArrayView<const std::int64_t> indices, ArrayView<const std::int64_t> offsets, std::size_t rows) {
  const std::size_t items = indices.extent(0);
  bool outside = false;
  for (std::size_t i = 0; i < items; ++i) outside |= static_cast<std::uint64_t>(indices.data[i]) >= rows;
  for (std::size_t i = 0; outside && i < items; ++i)
    if (static_cast<std::uint64_t>(indices.data[i]) >= rows)
      throw py::index_error("embedding_bag: indices[" + std::to_string(i) + "] is " + std::to_string(indices.data[i]) +
                            "; the table has " + std::to_string(rows) + " rows, so it must be 0 to " +
                            std::to_string(static_cast<std::int64_t>(rows) - 1));
  bool rising = offsets.data[0] == 0 && offsets.data[offsets.extent(0) - 1] == static_cast<std::int64_t>(items);
  for (std::size_t b = 0; b + 1 < offsets.extent(0); ++b) rising &= offsets.data[b] <= offsets.data[b + 1];
  if (!rising)
    throw py::value_error("embedding_bag: offsets must begin with 0, never fall and end with " + std::to_string(items) +
                          ", the number of indices: bag b holds indices[offsets[b]:offsets[b + 1]]");
}

template <class T>
void run(void (*kernel)(const EmbeddingBagArgs<T>&), py::handle table, py::handle indices, py::handle offsets,
         py::handle weights, py::handle scales, bool mean, py::handle out) {
  const auto rows = read_array<const T>(table, 2);
  const auto items = read_array<const std::int64_t>(indices, 1);
  const auto bags = read_array<const std::int64_t>(offsets, 1);
  const auto result = read_array<float>(out, 2);
  check(items, bags, rows.extent(0));
  const float* weight = weights.is_none() ? nullptr : read_array<const float>(weights, 1).data;
  const float* scale = scales.is_none() ? nullptr : read_array<const float>(scales, 1).data;
  const EmbeddingBagArgs<T> arguments{rows.data,        scale,          items.data, bags.data, weight, result.data,
                                      result.extent(0), rows.extent(1), mean};
  Released free(static_cast<double>(items.extent(0) * rows.extent(1)) * kNsPerValue);
  kernel(arguments);
}

void embedding_bag_call(py::handle table, py::handle indices, py::handle offsets, py::handle weights, py::handle scales,
                        bool mean, py::handle out) {
  const EmbeddingBagKernels& kernels = embedding_bag();
  const int type = type_number(table);
  if (type == kTypeNumber<float>)
    run<float>(kernels.f32, table, indices, offsets, weights, scales, mean, out);
  else if (type == kTypeNumber<Half>)
    run<Half>(kernels.f16, table, indices, offsets, weights, scales, mean, out);
  else
    run<std::int8_t>(kernels.i8, table, indices, offsets, weights, scales, mean, out);
}

}  // namespace

void bind_embedding_bag(py::module_& m) {
  m.def(
      "embedding_bag_check",
      [](py::handle indices, py::handle offsets, std::size_t rows) {
        check(read_array<const std::int64_t>(indices, 1), read_array<const std::int64_t>(offsets, 1), rows);
      },
      "What embedding_bag refuses of its indices and offsets.");
  m.def("embedding_bag", &embedding_bag_call, "Sums of table rows by bag; arguments as checked by the op.");
}

}  // namespace tailrace::kernels
