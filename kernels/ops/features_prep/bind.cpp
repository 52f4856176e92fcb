// GIL       Let go of for what takes longer than 20 us; none of the code below touches Python without it.
// Lifetime  The caller's arrays are borrowed for the call; a fitted preparation copies what it has learnt.
#include <pybind11/stl.h>

#include <memory>
#include <utility>
#include <vector>

#include "cpu/array.hpp"
#include "cpu/native_slot.hpp"
#include "cpu/released.hpp"
#include "ops/features_prep/distinct.hpp"
#include "ops/features_prep/prep.hpp"

namespace tailrace::kernels {
namespace {

inline constexpr double kNsPerValue = 0.2;      // one pass over values that lie in a cache
inline constexpr double kNsPerCategory = 5;     // a lookup, and its share of zeros
inline constexpr double kNsPerDistinctRow = 30;  // a hash and a probe

void must_fit(bool fits) {
  if (!fits) throw py::value_error("the arrays do not fit together; the op checks that before");
}

// Whether a row that is written may still be read by another one. Rows that are prepared where they lie are read first.
bool disturbs(const void* x, std::size_t x_bytes, const void* out, std::size_t out_bytes) {
  const auto a = reinterpret_cast<std::uintptr_t>(x), b = reinterpret_cast<std::uintptr_t>(out);
  return a < b + out_bytes && b < a + x_bytes && !(a == b && x_bytes == out_bytes);
}

class PrepOp final : public Bound {
 public:
  PrepOp(std::size_t columns, const LearntColumns& learnt, CategoryEncoder encoder)
      : prep_(columns, learnt, std::move(encoder)) {}

  const RowsPrep& prep() const { return prep_; }

  // Fields: the data, float32; the categories, if any; the features.
  bool run(std::byte* const* fields, std::size_t batch) const override {
    auto* out = reinterpret_cast<float*>(fields[prep_.categories() > 0 ? 2 : 1]);
    prep_.scale(reinterpret_cast<const float*>(fields[0]), batch, out);
    return prep_.categories() == 0 ||
           !prep_.encode(reinterpret_cast<const std::int64_t*>(fields[1]), batch, out).has_value();
  }

 private:
  RowsPrep prep_;
};

std::shared_ptr<PrepOp> make_prep(py::handle learnt, const std::vector<py::object>& encodings, std::size_t buckets,
                                  bool unknown_is_error) {
  const auto numbers = read_array<const double>(learnt, 2);
  must_fit(numbers.extent(0) == 5);
  const std::size_t columns = numbers.extent(1);
  const double* p = numbers.data;
  CategoryEncoder encoder;
  encoder.set_buckets(buckets);
  encoder.set_unknown_is_error(unknown_is_error);
  for (std::size_t c = 0; c < encodings.size(); ++c) {
    if (py::isinstance<py::int_>(encodings[c])) {
      encoder.add_hashed(c, encodings[c].cast<std::uint64_t>());
    } else {
      const auto values = read_array<const std::int64_t>(encodings[c], 1);
      encoder.add_one_hot(c, {values.data, values.extent(0)});
    }
  }
  return std::make_shared<PrepOp>(
      columns, LearntColumns{p, p + columns, p + 2 * columns, p + 3 * columns, p + 4 * columns}, std::move(encoder));
}

template <class T>
std::optional<UnknownCategory> prepare(const RowsPrep& prep, const ArrayView<const T>& x, const std::int64_t* values,
                                       float* out) {
  const std::size_t rows = x.extent(0);
  Released free(static_cast<double>(rows) * (static_cast<double>(prep.columns()) * kNsPerValue +
                                             static_cast<double>(prep.categories()) * kNsPerCategory));
  prep.scale(x.data, rows, out);
  return values == nullptr ? std::nullopt : prep.encode(values, rows, out);
}

// None; the row and column of a category that is refused; or False for arrays that do not fit, which the caller explains. The
// face does not look before each call: looking costs it ten times what these comparisons do.
template <class T>
py::object call_with(const RowsPrep& prep, py::handle data, py::handle categories, py::handle out) {
  const auto x = read_array<const T>(data, 2);
  const auto features = read_array<float>(out, 2);
  if (x.extent(1) != prep.columns() || features.extent(0) != x.extent(0) || features.extent(1) != prep.width())
    return py::bool_(false);
  const std::size_t rows = x.extent(0), out_bytes = rows * prep.width() * sizeof(float);
  if (disturbs(x.data, rows * prep.columns() * sizeof(T), features.data, out_bytes)) return py::bool_(false);
  const std::int64_t* values = nullptr;
  if (prep.categories() > 0) {
    const auto given = read_array<const std::int64_t>(categories, 2);
    if (given.extent(0) != x.extent(0) || given.extent(1) != prep.categories()) return py::bool_(false);
    values = given.data;
    if (disturbs(values, rows * prep.categories() * sizeof(std::int64_t), features.data, out_bytes))
      return py::bool_(false);
  } else if (!categories.is_none()) {
    return py::bool_(false);
  }
  const auto unknown = prepare<T>(prep, x, values, features.data);
  if (!unknown.has_value()) return py::none();
  return py::make_tuple(unknown->row, unknown->column);
}

py::object call_prep(const PrepOp& op, py::handle data, py::handle categories, py::handle out) {
  try {
    return type_number(data) == kTypeNumber<float> ? call_with<float>(op.prep(), data, categories, out)
                                                   : call_with<double>(op.prep(), data, categories, out);
  } catch (const py::type_error&) {
    return py::bool_(false);
  }
}

template <class T>
void check_rows(void (*kernel)(const CheckRows<T>&), py::handle data, py::handle low, py::handle high,
                bool nan_is_valid, py::handle valid) {
  const auto x = read_array<const T>(data, 2);
  const auto flags = read_array<bool>(valid, 1);
  const auto least = read_array<const T>(low, 1), most = read_array<const T>(high, 1);
  must_fit(flags.extent(0) == x.extent(0) && least.extent(0) == x.extent(1) && most.extent(0) == x.extent(1));
  const CheckRows<T> arguments{x.data, flags.data, x.extent(0), x.extent(1), least.data, most.data, nan_is_valid};
  Released free(static_cast<double>(x.extent(0) * x.extent(1)) * kNsPerValue);
  kernel(arguments);
}

RowBlock block_of(py::handle array, std::size_t rows) {
  const int type = type_number(array);
  if (type == kTypeNumber<float>) {
    const auto view = read_array<const float>(array, 2);
    must_fit(view.extent(0) == rows);
    return {view.data, view.extent(1), Cell::f32};
  }
  if (type == kTypeNumber<double>) {
    const auto view = read_array<const double>(array, 2);
    must_fit(view.extent(0) == rows);
    return {view.data, view.extent(1), Cell::f64};
  }
  const auto view = read_array<const std::int64_t>(array, 2);
  must_fit(view.extent(0) == rows);
  return {view.data, view.extent(1), Cell::i64};
}

std::size_t distinct(py::handle data, py::handle categories, py::handle kept) {
  const auto places = read_array<std::int64_t>(kept, 1);
  const std::size_t rows = places.extent(0);
  must_fit(rows <= kMostDistinctRows);
  RowBlock blocks[2] = {block_of(data, rows), {}};
  if (!categories.is_none()) blocks[1] = block_of(categories, rows);
  Released free(static_cast<double>(rows) * kNsPerDistinctRow);
  return distinct_rows(blocks, categories.is_none() ? 1 : 2, rows, places.data);
}

}  // namespace

void bind_features_prep(py::module_& m) {
  py::class_<PrepOp, std::shared_ptr<PrepOp>>(m, "FeaturesPrep", "What a fitted preparation has learnt.")
      .def(py::init(&make_prep), "Five learnt numbers a column; for each category column, its values or its seed.")
      .def("__call__", &call_prep,
           "Prepares rows into `out`; None, (row, column) of a category that is refused, or False: arrays do not fit.")
      .def("_bound", [](std::shared_ptr<PrepOp> op) { return bound_capsule(std::move(op)); }, "For a native step.");
  m.def(
      "features_prep_check",
      [](py::handle data, py::handle low, py::handle high, bool nan_is_valid, py::handle valid) {
        const FeaturesPrepKernels& kernels = features_prep();
        if (type_number(data) == kTypeNumber<float>)
          check_rows<float>(kernels.check_f32, data, low, high, nan_is_valid, valid);
        else
          check_rows<double>(kernels.check_f64, data, low, high, nan_is_valid, valid);
      },
      "Which rows have every value within its column's limits.");
  m.def("features_prep_distinct", &distinct, "Indices of the first of each set of equal rows; returns how many.");
}

}  // namespace tailrace::kernels
