// GIL       Let go of for what takes longer than 20 us.
// Lifetime  Components and mean are copied; the caller's rows are borrowed for the call.
#include <cstdint>
#include <memory>

#include "cpu/array.hpp"
#include "cpu/native_slot.hpp"
#include "cpu/released.hpp"
#include "ops/pca_project/projection.hpp"

namespace tailrace::kernels {
namespace {

inline constexpr double kNsPerProduct = 0.025;

class ProjectionOp final : public Bound {
 public:
  ProjectionOp(const float* components, const float* mean, const float* factors, std::size_t features,
               std::size_t count)
      : projection_(components, mean, factors, features, count) {}

  const Projection& projection() const { return projection_; }

  // Fields: the rows, their projection.
  bool run(std::byte* const* fields, std::size_t batch) const override {
    try {
      projection_.project(reinterpret_cast<const float*>(fields[0]), batch, reinterpret_cast<float*>(fields[1]));
    } catch (...) {
      return false;  // no memory for the centred rows
    }
    return true;
  }

 private:
  Projection projection_;
};

std::shared_ptr<ProjectionOp> make_projection(py::handle components, py::handle mean, py::handle factors) {
  const auto rows = read_array<const float>(components, 2);
  const auto centre = read_array<const float>(mean, 1);
  const float* factor = nullptr;
  bool fits = centre.extent(0) == rows.extent(1);
  if (!factors.is_none()) {
    const auto given = read_array<const float>(factors, 1);
    fits = fits && given.extent(0) == rows.extent(0);
    factor = given.data;
  }
  if (!fits) throw py::value_error("components, mean and factors do not fit together; the op checks that before");
  Released free(static_cast<double>(rows.extent(0) * rows.extent(1)));
  return std::make_shared<ProjectionOp>(rows.data, centre.data, factor, rows.extent(1), rows.extent(0));
}

// False for arrays that do not fit, which the caller explains.
bool call_projection(const ProjectionOp& op, py::handle x, py::handle out) {
  const Projection& projection = op.projection();
  try {
    const auto rows = read_array<const float>(x, 2);
    const auto y = read_array<float>(out, 2);
    if (rows.extent(1) != projection.features() || y.extent(0) != rows.extent(0) ||
        y.extent(1) != projection.components())
      return false;
    const std::size_t count = rows.extent(0);
    const auto from = reinterpret_cast<std::uintptr_t>(rows.data), to = reinterpret_cast<std::uintptr_t>(y.data);
    if (from < to + count * projection.components() * sizeof(float) &&
        to < from + count * projection.features() * sizeof(float))
      return false;
    Released free(static_cast<double>(count * projection.features() * projection.components()) * kNsPerProduct);
    projection.project(rows.data, count, y.data);
  } catch (const py::type_error&) {
    return false;
  }
  return true;
}

}  // namespace

void bind_pca_project(py::module_& m) {
  py::class_<ProjectionOp, std::shared_ptr<ProjectionOp>>(m, "Projection", "Components and mean, packed.")
      .def(py::init(&make_projection), "Components [components, features], mean, and a factor a component or None.")
      .def("__call__", &call_projection, "Projects rows into `out`; False if the arrays do not fit.")
      .def(
          "_bound", [](std::shared_ptr<ProjectionOp> op) { return bound_capsule(std::move(op)); },
          "For a native step.");
}

}  // namespace tailrace::kernels
