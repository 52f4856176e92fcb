// cuda.cu -- convolution, activation and pooling in one pass: a thread a pixel of the result, for eight output channels
// What:    conv2d_small_<1 or 8>: how many output channels a thread sums at once; the grid's y goes over the groups of them,
//          its z over the images. Weights of the group lie in shared memory, pixels come through the first-level cache.
// Why:     neighbouring threads read neighbouring pixels; what a convolution gives before pooling is never written.
// Checked: tests/kernels/test_ops.py in the shim; budgets.toml.
#include "device.cuh"

constexpr int kThreads = 256;

struct Convolution {
  int channels, height, width;            // of the image
  int out_channels, kernel_height, kernel_width;
  int stride, padding, pool, relu;
  int out_height, out_width;              // of the result
  int staged;                             // whether the weights of a group fit into shared memory
};

template <int EACH>
__device__ __forceinline__ void convolve(const Convolution& c, const float* x, const float* weights, const float* bias,
                                         float* y, float* staged) {
  const int window = c.channels * c.kernel_height * c.kernel_width, first = static_cast<int>(blockIdx.y) * EACH;
  const int group = min(EACH, c.out_channels - first);
  if (c.staged != 0) {  // [window][EACH]: a thread reads those of one pixel side by side
    for (int i = static_cast<int>(threadIdx.x); i < window * EACH; i += kThreads) {
      const int o = i % EACH, k = i / EACH;
      staged[i] = o < group ? weights[static_cast<u64>(first + o) * window + k] : 0.0f;
    }
    __syncthreads();
  }
  const int pixel = static_cast<int>(blockIdx.x) * kThreads + static_cast<int>(threadIdx.x);
  if (pixel >= c.out_height * c.out_width) return;
  const float* image = x + static_cast<u64>(blockIdx.z) * c.channels * c.height * c.width;
  const int top = pixel / c.out_width * c.pool, left = pixel % c.out_width * c.pool;
  float best[EACH];
  for (int p = 0; p < c.pool * c.pool; ++p) {
    const int row = (top + p / c.pool) * c.stride - c.padding, column = (left + p % c.pool) * c.stride - c.padding;
    float sum[EACH];
#pragma unroll
    for (int o = 0; o < EACH; ++o) sum[o] = bias != nullptr && o < group ? bias[first + o] : 0.0f;
    int k = 0;
    for (int channel = 0; channel < c.channels; ++channel) {
      for (int i = 0; i < c.kernel_height; ++i) {
        for (int j = 0; j < c.kernel_width; ++j, ++k) {
          const int r = row + i, s = column + j;
          if (r < 0 || r >= c.height || s < 0 || s >= c.width) continue;
          const float v = image[(static_cast<u64>(channel) * c.height + r) * c.width + s];
#pragma unroll
          for (int o = 0; o < EACH; ++o) {
            const float w = c.staged != 0 ? staged[k * EACH + o]
                            : o < group   ? weights[static_cast<u64>(first + o) * window + k]
                                          : 0.0f;
            sum[o] += v * w;
          }
        }
      }
    }
#pragma unroll
    for (int o = 0; o < EACH; ++o) best[o] = p == 0 || sum[o] > best[o] ? sum[o] : best[o];
  }
#pragma unroll
  for (int o = 0; o < EACH; ++o) {
    if (o >= group) continue;
    const float v = c.relu != 0 && best[o] < 0.0f ? 0.0f : best[o];
    y[(static_cast<u64>(blockIdx.z) * c.out_channels + first + o) * c.out_height * c.out_width + pixel] = v;
  }
}

#define CONV_KERNEL(name, EACH)                                                                                   \
  extern "C" __global__ void __launch_bounds__(256, 2)                                                            \
      name(const Convolution c, const float* x, const float* weights, const float* bias, float* y) {              \
    DYNAMIC_SHARED(float, staged);                                                                                \
    convolve<EACH>(c, x, weights, bias, y, staged);                                                               \
  }

CONV_KERNEL(conv2d_small_1, 1)
CONV_KERNEL(conv2d_small_8, 8)
