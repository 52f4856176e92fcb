// cuda.cu -- rows less the mean, times the components: a tile of the result for each block
// What:    pca_project_<ROWS>; the mean is taken off as a row is read, so nothing large is subtracted from something large
//          afterwards, and each column is multiplied by 1 / sqrt(variance) as it is written.
// Checked: tests/kernels/test_ops.py in the shim; budgets.toml.
#include "dense.cuh"

struct Centred {
  const float *x, *mean;
  int rows, in;
  __device__ __forceinline__ float operator()(int r, int k) const {
    return r < rows && k < in ? x[static_cast<u64>(r) * in + k] - mean[k] : 0.0f;
  }
};

struct Put {
  float* y;
  const float* variance;  // or null
  int rows, out;
  __device__ __forceinline__ void operator()(int r, int c, float sum) const {
    if (r >= rows || c >= out) return;
    y[static_cast<u64>(r) * out + c] = variance != nullptr ? __fdiv_rn(sum, __fsqrt_rn(variance[c])) : sum;
  }
};

#define PCA_KERNEL(name, ROWS)                                                                                     \
  extern "C" __global__ void __launch_bounds__(256, 2)                                                             \
      name(const float* x, const float* components, const float* mean, const float* variance, float* y, int rows,  \
           int features, int count) {                                                                              \
    using Core = FloatCore<ROWS, Float32Columns, float>;                                                           \
    __shared__ typename Core::Shared shared;                                                                       \
    const int first = static_cast<int>(blockIdx.x) * ROWS;                                                         \
    const Layer layer = {components, nullptr, nullptr, features, count, 0, 0};                                     \
    const Centred in = {x + static_cast<u64>(first) * features, mean, rows - first, features};                     \
    const Put put = {y + static_cast<u64>(first) * count, variance, rows - first, count};                          \
    Core::tile(layer, in, static_cast<int>(blockIdx.y) * kColumns, shared, put);                                   \
  }

PCA_KERNEL(pca_project_16, 16)
PCA_KERNEL(pca_project_64, 64)
