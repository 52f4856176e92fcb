// GIL       Let go of when the products take longer than 20 us.
// Lifetime  The caller's arrays are borrowed for the call.
#include <cstdint>

#include "cpu/array.hpp"
#include "cpu/released.hpp"
#include "cpu/scratch.hpp"
#include "ops/lora_bgmv/cpu.hpp"
#include "ops/lora_bgmv/segments.hpp"

namespace tailrace::kernels {
namespace {

inline constexpr double kNsPerProduct = 0.03;

struct LoraOrder;
struct LoraLow;

template <class T>
std::int64_t run(void (*kernel)(const LoraArgs<T>&), py::handle x, py::handle a, py::handle b, py::handle adapters,
                 float scale, bool accumulate, py::handle out) {
  const auto rows = read_array<const float>(x, 2);
  const auto down = read_array<const T>(a, 3);
  const auto up = read_array<const T>(b, 3);
  const auto named = read_array<const std::int32_t>(adapters, 1);
  const auto y = read_array<float>(out, 2);
  const std::size_t count = rows.extent(0), hidden = down.extent(1), rank = down.extent(2);
  const std::size_t segments = down.extent(0);
  if (down.extent(1) != rows.extent(1) || up.extent(0) != segments || up.extent(1) != rank ||
      named.extent(0) != count || y.extent(0) != count || y.extent(1) != up.extent(2))
    throw py::value_error("rows, adapters and output do not fit together; the op checks that before");
  const double products = static_cast<double>(count) * static_cast<double>(rank * (hidden + up.extent(2)));
  Released free(products * kNsPerProduct);
  auto* order = reinterpret_cast<std::uint32_t*>(scratch<LoraOrder>((count + segments + 2) * sizeof(std::uint32_t)));
  std::uint32_t* offsets = order + count;
  const auto wrong = sort_rows(named.data, count, segments, order, offsets);
  if (!wrong.has_value()) {
    auto* low = reinterpret_cast<float*>(scratch<LoraLow>(kMostLoraRows * rank * sizeof(float)));
    kernel({rows.data, down.data, up.data, y.data, order, offsets, low, segments, hidden, rank, up.extent(2), scale,
            accumulate});
  }
  return wrong.has_value() ? static_cast<std::int64_t>(*wrong) : -1;
}

std::int64_t lora_call(py::handle x, py::handle a, py::handle b, py::handle adapters, float scale, bool accumulate,
                       py::handle out) {
  const LoraKernels& kernels = lora_bgmv();
  if (type_number(a) == kTypeNumber<Half>) return run<Half>(kernels.f16, x, a, b, adapters, scale, accumulate, out);
  return run<float>(kernels.f32, x, a, b, adapters, scale, accumulate, out);
}

}  // namespace

void bind_lora_bgmv(py::module_& m) {
  m.def("lora_bgmv", &lora_call,
        "Rows through their adapters, as checked by the op; a row that names none there is, or -1.");
}

}  // namespace tailrace::kernels
