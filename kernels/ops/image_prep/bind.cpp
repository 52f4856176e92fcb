// GIL       Let go of when the images take longer than 20 us.
// Lifetime  The caller's arrays are borrowed for the call; a native step shares the plan.
#include <pybind11/stl.h>

#include <array>
#include <memory>
#include <utility>

#include "cpu/array.hpp"
#include "cpu/native_slot.hpp"
#include "cpu/released.hpp"
#include "cpu/scratch.hpp"
#include "ops/image_prep/plan.hpp"

namespace tailrace::kernels {
namespace {

struct ImageScratch;

void run_images(const ImagePlan& plan, const std::uint8_t* images, float* out, std::size_t count) {
  auto* floats = reinterpret_cast<float*>(scratch<ImageScratch>(plan.scratch_floats() * sizeof(float)));
  const ImagePrepTask task = plan.task(images, out, count, floats);
  const ImagePrepKernels& kernels = image_prep();
  (plan.many_taps() ? kernels.antialiased : kernels.bilinear)(task);
}

class BoundImagePrep final : public Bound {
 public:
  explicit BoundImagePrep(std::shared_ptr<const ImagePlan> plan) : plan_(std::move(plan)) {}

  bool run(std::byte* const* fields, std::size_t batch) const override {
    try {
      run_images(*plan_, reinterpret_cast<const std::uint8_t*>(fields[0]), reinterpret_cast<float*>(fields[1]), batch);
      return true;
    } catch (...) {  // no memory for the scratch of this thread
      return false;
    }
  }

 private:
  std::shared_ptr<const ImagePlan> plan_;
};

class ImagePrep {
 public:
  ImagePrep(std::array<std::size_t, 2> source, std::array<std::size_t, 2> size, bool grey, bool antialias,
            std::array<double, 3> mean, std::array<double, 3> std) {
    ImageRequest request;
    request.source_height = source[0];
    request.source_width = source[1];
    request.height = size[0];
    request.width = size[1];
    request.grey = grey;
    request.antialias = antialias;
    request.mean = mean;
    request.std = std;
    plan_ = std::make_shared<const ImagePlan>(request);
  }

  void call(py::handle images, py::handle out) const {
    const auto source = read_array<const std::uint8_t>(images, 4);
    const auto result = read_array<float>(out, 4);
    const ImageRequest& r = plan_->request();
    if (source.extent(1) != r.source_height || source.extent(2) != r.source_width || source.extent(3) != 3 ||
        result.extent(0) != source.extent(0) || result.extent(1) != plan_->channels() || result.extent(2) != r.height ||
        result.extent(3) != r.width)
      throw py::value_error("image_prep: the arrays have other sizes than the op was bound to");
    Released free(plan_->estimated_ns() * static_cast<double>(source.extent(0)));
    run_images(*plan_, source.data, result.data, source.extent(0));
  }

  py::capsule bound() const { return bound_capsule(std::make_shared<const BoundImagePrep>(plan_)); }

 private:
  std::shared_ptr<const ImagePlan> plan_;
};

}  // namespace

void bind_image_prep(py::module_& m) {
  py::class_<ImagePrep>(m, "ImagePrep", "Tables for one size of images and one of results.")
      .def(py::init<std::array<std::size_t, 2>, std::array<std::size_t, 2>, bool, bool, std::array<double, 3>,
                    std::array<double, 3>>(),
           py::arg("source"), py::arg("size"), py::arg("grey"), py::arg("antialias"), py::arg("mean"), py::arg("std"))
      .def("__call__", &ImagePrep::call, py::arg("images"), py::arg("out"), "Arguments as checked by the op.")
      .def("_bound", &ImagePrep::bound, "A capsule for native_slot.");
}

}  // namespace tailrace::kernels
