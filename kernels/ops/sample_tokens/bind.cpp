// GIL       Let go of when the row's tokens take longer than 20 us.
// Lifetime  The caller's arrays are borrowed for the call; a Sampler has copies of its parameters.
#include <cmath>
#include <memory>
#include <string>
#include <vector>

#include "cpu/array.hpp"
#include "cpu/native_slot.hpp"
#include "cpu/released.hpp"
#include "ops/sample_tokens/cpu.hpp"

namespace tailrace::kernels {
namespace {

inline constexpr double kNsPerToken = 1.2;

template <class T>
PerRow<T> per_row(py::handle values, std::size_t rows) {
  const auto view = read_array<const T>(values, 1);
  const std::size_t n = view.extent(0);
  if (n != 1 && n != rows) throw py::type_error("a kernel was given one parameter per row for another number of rows");
  return {view.data, n == 1 ? std::size_t{0} : std::size_t{1}};
}

void refuse(SampleResult result, const float* logits, std::size_t tokens) {
  if (result.bad == BadLogits::none) return;
  const float* row = logits + result.row * tokens;
  const std::string where = std::to_string(result.row);
  if (result.bad == BadLogits::nothing)
    throw py::value_error("sample_tokens: logits[" + where + "] is all -inf: no token can be drawn");
  std::size_t i = 0;
  while (result.bad == BadLogits::nan ? !std::isnan(row[i]) : !(std::isinf(row[i]) && row[i] > 0)) ++i;
  throw py::value_error("sample_tokens: logits[" + where + ", " + std::to_string(i) + "] is " +
                        (result.bad == BadLogits::nan ? "NaN" : "+inf") +
                        ": logits must be finite, or -inf to rule out a token");
}

template <class Out>
void run(SampleResult (*kernel)(const SampleArgs&, Out*), const SampleArgs& arguments, Out* out) {
  SampleResult result;
  {
    Released free(static_cast<double>(arguments.rows * arguments.tokens) * kNsPerToken);
    result = kernel(arguments, out);
  }
  refuse(result, arguments.logits, arguments.tokens);
}

SampleArgs read(py::handle logits, py::handle temperature, py::handle top_k, py::handle top_p, py::handle min_p,
                py::handle seed, py::handle step) {
  const auto view = read_array<const float>(logits, 2);
  const std::size_t rows = view.extent(0);
  return {view.data,
          rows,
          view.extent(1),
          per_row<double>(temperature, rows),
          per_row<std::int64_t>(top_k, rows),
          per_row<double>(top_p, rows),
          per_row<double>(min_p, rows),
          per_row<std::uint64_t>(seed, rows),
          per_row<std::uint64_t>(step, rows)};
}

template <class T>
std::vector<T> copied(py::handle values) {
  const auto view = read_array<const T>(values, 1);
  return {view.data, view.data + view.extent(0)};
}

class Sampler : public Bound {
 public:
  Sampler(std::size_t tokens, py::handle temperature, py::handle top_k, py::handle top_p, py::handle min_p,
          py::handle seed)
      : tokens_(tokens),
        temperature_(copied<double>(temperature)),
        top_k_(copied<std::int64_t>(top_k)),
        top_p_(copied<double>(top_p)),
        min_p_(copied<double>(min_p)),
        seed_(copied<std::uint64_t>(seed)) {}

  void sample(py::handle logits, py::handle step, py::handle out) const {
    const auto view = read_array<const float>(logits, 2);
    const std::size_t rows = view.extent(0);
    tailrace::kernels::run(kernels_.sample, arguments(view.data, rows, per_row<std::uint64_t>(step, rows)),
                           read_array<std::int32_t>(out, 1).data);
  }

  // logits [batch, tokens], step, tokens [batch]
  bool run(std::byte* const* fields, std::size_t batch) const override {
    const PerRow<std::uint64_t> step{reinterpret_cast<const std::uint64_t*>(fields[1]), 0};
    const auto found = kernels_.sample(arguments(reinterpret_cast<const float*>(fields[0]), batch, step),
                                       reinterpret_cast<std::int32_t*>(fields[2]));
    return found.bad == BadLogits::none;
  }

 private:
  template <class T>
  static PerRow<T> of(const std::vector<T>& values) {
    return {values.data(), values.size() == 1 ? std::size_t{0} : std::size_t{1}};
  }

  SampleArgs arguments(const float* logits, std::size_t rows, PerRow<std::uint64_t> step) const {
    return {logits, rows, tokens_, of(temperature_), of(top_k_), of(top_p_), of(min_p_), of(seed_), step};
  }

  const SampleKernels& kernels_ = sample_tokens();
  const std::size_t tokens_;
  const std::vector<double> temperature_;
  const std::vector<std::int64_t> top_k_;
  const std::vector<double> top_p_;
  const std::vector<double> min_p_;
  const std::vector<std::uint64_t> seed_;
};

void sample_call(py::handle logits, py::handle temperature, py::handle top_k, py::handle top_p, py::handle min_p,
                 py::handle seed, py::handle step, py::handle out) {
  run(sample_tokens().sample, read(logits, temperature, top_k, top_p, min_p, seed, step),
      read_array<std::int32_t>(out, 1).data);
}

void kept_call(py::handle logits, py::handle temperature, py::handle top_k, py::handle top_p, py::handle min_p,
               py::handle seed, py::handle out) {
  run(sample_tokens().kept, read(logits, temperature, top_k, top_p, min_p, seed, seed), read_array<bool>(out, 2).data);
}

}  // namespace

void bind_sample_tokens(py::module_& m) {
  m.def("sample_tokens", &sample_call, "A token per row; arguments as checked by the op.");
  m.def("kept_tokens", &kept_call, "Which tokens of each row can be drawn; arguments as checked by the op.");
  m.def(
      "token_weights",
      [](py::handle logits, double temperature, py::handle out) {
        const auto row = read_array<const float>(logits, 1);
        sample_tokens().weigh(row.data, row.extent(0), temperature, read_array<std::int64_t>(out, 1).data);
      },
      "The weights of a row of valid logits, of 2^40 for the likeliest; for tests.");
  py::class_<Sampler, std::shared_ptr<Sampler>>(m, "Sampler")
      .def(py::init<std::size_t, py::handle, py::handle, py::handle, py::handle, py::handle>())
      .def("sample", &Sampler::sample)
      .def("_bound", [](std::shared_ptr<Sampler> self) { return bound_capsule(std::move(self)); });
}

}  // namespace tailrace::kernels
