// GIL       Let go of when the frames take longer than 20 us.
// Lifetime  The caller's arrays are borrowed for the call; a native step shares the plan.
#include <pybind11/stl.h>

#include <memory>
#include <utility>
#include <vector>

#include "cpu/array.hpp"
#include "cpu/native_slot.hpp"
#include "cpu/released.hpp"
#include "cpu/scratch.hpp"
#include "ops/log_mel/plan.hpp"

namespace tailrace::kernels {
namespace {

struct FrameScratch;

void run_signals(const LogMelPlan& plan, const float* x, float* out, std::size_t count, std::size_t samples) {
  auto* floats = reinterpret_cast<float*>(scratch<FrameScratch>(plan.scratch_floats() * sizeof(float)));
  log_mel().run(plan.task(x, out, count, samples, floats));
}

class BoundLogMel final : public Bound {
 public:
  BoundLogMel(std::shared_ptr<const LogMelPlan> plan, std::size_t samples)
      : plan_(std::move(plan)), samples_(samples) {}

  bool run(std::byte* const* fields, std::size_t batch) const override {
    try {
      run_signals(*plan_, reinterpret_cast<const float*>(fields[0]), reinterpret_cast<float*>(fields[1]), batch,
                  samples_);
      return true;
    } catch (...) {  // no memory for the scratch of this thread
      return false;
    }
  }

 private:
  std::shared_ptr<const LogMelPlan> plan_;
  std::size_t samples_;
};

class LogMel {
 public:
  LogMel(const std::vector<double>& window, const std::vector<double>& filters, std::size_t mels, std::size_t hop,
         bool center, bool reflect, float floor) {
    LogMelRequest request;
    request.n_fft = window.size();
    request.hop = hop;
    request.mels = mels;
    request.center = center;
    request.reflect = reflect;
    request.floor = floor;
    request.window = window;
    request.filters = filters;
    plan_ = std::make_shared<const LogMelPlan>(request);
  }

  std::size_t frames(std::size_t samples) const { return plan_->frames(samples); }

  void call(py::handle x, py::handle out) const {
    const auto signals = read_array<const float>(x, 2);
    const auto result = read_array<float>(out, 3);
    const std::size_t count = signals.extent(0), samples = signals.extent(1), frames = plan_->frames(samples);
    if (result.extent(0) != count || result.extent(1) != plan_->mels() || result.extent(2) != frames)
      throw py::value_error("log_mel: out has another size than the signals give");
    Released free(plan_->estimated_ns(frames) * static_cast<double>(count));
    run_signals(*plan_, signals.data, result.data, count, samples);
  }

  py::capsule bound(std::size_t samples) const {
    return bound_capsule(std::make_shared<const BoundLogMel>(plan_, samples));
  }

 private:
  std::shared_ptr<const LogMelPlan> plan_;
};

}  // namespace

void bind_log_mel(py::module_& m) {
  py::class_<LogMel>(m, "LogMel", "Tables for one window, hop and bank of filters.")
      .def(py::init<const std::vector<double>&, const std::vector<double>&, std::size_t, std::size_t, bool, bool,
                    float>(),
           py::arg("window"), py::arg("filters"), py::arg("mels"), py::arg("hop"), py::arg("center"),
           py::arg("reflect"), py::arg("floor"))
      .def("frames", &LogMel::frames, py::arg("samples"), "How many frames a signal gives; 0 if it is too short.")
      .def("__call__", &LogMel::call, py::arg("x"), py::arg("out"), "Arguments as checked by the op.")
      .def("_bound", &LogMel::bound, py::arg("samples"), "A capsule for native_slot.");
}

}  // namespace tailrace::kernels
