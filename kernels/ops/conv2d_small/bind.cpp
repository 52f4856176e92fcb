// GIL       Let go of when the convolution takes longer than 20 us.
// Lifetime  The caller's arrays are borrowed for the call.
#include <cstddef>

#include "cpu/array.hpp"
#include "cpu/released.hpp"
#include "cpu/scratch.hpp"
#include "ops/conv2d_small/cpu.hpp"

namespace tailrace::kernels {
namespace {

inline constexpr double kNsPerProduct = 0.025;

struct ConvScratch;

void must_fit(bool fits) {
  if (!fits) throw py::value_error("image, weights and output do not fit together; the op checks that before");
}

void conv_call(py::handle x, py::handle weights, py::handle bias, std::size_t stride, std::size_t padding, bool relu,
               std::size_t pool, py::handle out) {
  const auto images = read_array<const float>(x, 4);
  const auto w = read_array<const float>(weights, 4);
  const auto y = read_array<float>(out, 4);
  Conv2dShape s{images.extent(1),
                images.extent(2),
                images.extent(3),
                w.extent(0),
                w.extent(2),
                w.extent(3),
                stride,
                padding,
                pool,
                0,
                0,
                0,
                0};
  must_fit(stride >= 1 && pool >= 1 && s.kernel_h >= 1 && s.kernel_w >= 1 && w.extent(1) == s.channels &&
           padding < (std::size_t{1} << 20) && s.height + 2 * padding >= s.kernel_h &&
           s.width + 2 * padding >= s.kernel_w);
  s.conv_h = (s.height + 2 * padding - s.kernel_h) / stride + 1;
  s.conv_w = (s.width + 2 * padding - s.kernel_w) / stride + 1;
  s.out_h = s.conv_h / pool;
  s.out_w = s.conv_w / pool;
  must_fit(y.extent(0) == images.extent(0) && y.extent(1) == s.out && y.extent(2) == s.out_h && y.extent(3) == s.out_w);
  const float* b = nullptr;
  if (!bias.is_none()) {
    const auto given = read_array<const float>(bias, 1);
    must_fit(given.extent(0) == s.out);
    b = given.data;
  }
  const Conv2dKernels& kernels = conv2d_small();
  const std::size_t batch = images.extent(0);
  const double products = static_cast<double>(batch * s.out) * static_cast<double>(s.inputs() * s.conv_h * s.conv_w);
  Released free(products * kNsPerProduct);
  auto* memory = reinterpret_cast<float*>(scratch<ConvScratch>(kernels.scratch_floats(s) * sizeof(float)));
  for (std::size_t n = 0; n < batch; ++n)
    kernels.image({s, images.data + n * s.channels * s.height * s.width, w.data, b,
                   y.data + n * s.out * s.out_h * s.out_w, memory, relu});
}

}  // namespace

void bind_conv2d_small(py::module_& m) {
  m.def("conv2d_small", &conv_call, "Convolution, bias, relu and max-pooling; arguments as checked by the op.");
}

}  // namespace tailrace::kernels
