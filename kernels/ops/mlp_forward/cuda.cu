// cuda.cu -- a network of dense layers in one launch, and one kernel for each kind of weight
// What:    a block takes ROWS rows through all layers; what lies between two layers stays in its shared memory. With one layer
//          the grid's y splits the columns. mlp_<kind>_<ROWS>, chosen by launch.py.
// Why:     for up to some thousand rows launches cost more than the layers; and the layers between are never written out.
// Source:  Müller et al. 2021, "Real-time Neural Radiance Caching", section 5 (fully fused networks).
// Checked: tests/kernels/test_ops.py, tests/kernels/cuda/test_mlp_kernels.py, in the shim; budgets.toml.
#include "activation.cuh"
#include "dense.cuh"
#include "network.cuh"

// The rows that go into a layer: the caller's, zeros beyond them, or those that the layer before made.
template <class Value>
struct Rows {
  const float* given;  // null: they are in `made`
  const Value* made;
  int rows, in;
  __device__ __forceinline__ float operator()(int r, int k) const {
    if (k >= in || r >= rows) return 0.0f;
    return given != nullptr ? given[static_cast<u64>(r) * in + k] : to_float(made[r * in + k]);
  }
};

// Where a sum goes: between two layers, or to the caller. Only relu is done here; see finish().
template <class Value>
struct Put {
  Value* to;
  float* y;  // null: it goes between
  const float* bias;
  int rows, out;
  bool relu;
  __device__ __forceinline__ void operator()(int r, int c, float sum) const {
    if (c >= out) return;
    float v = bias != nullptr ? sum + bias[c] : sum;
    if (relu && v < 0.0f) v = 0.0f;
    if (y == nullptr) {
      from_float(v, to[r * out + c]);
    } else if (r < rows) {
      y[static_cast<u64>(r) * out + c] = v;
    }
  }
};

// The activations that are long: a pass of their own, once in the code in place of once for each sum of a thread.
template <int ROWS, class Value>
__device__ __forceinline__ void finish(const Put<Value>& put, int activation, int begin, int step) {
  if (activation == kNone || activation == kRelu) return;
  __syncthreads();
  const int rows = put.y == nullptr ? ROWS : min(ROWS, put.rows);
  for (int c0 = begin; c0 < put.out; c0 += step) {
    for (int i = static_cast<int>(threadIdx.x); i < rows * kColumns; i += kThreads) {
      const int r = i / kColumns, c = c0 + i % kColumns;
      if (c >= put.out) continue;
      if (put.y == nullptr) {
        from_float(activated(to_float(put.to[r * put.out + c]), activation), put.to[r * put.out + c]);
      } else {
        float& v = put.y[static_cast<u64>(r) * put.out + c];
        v = activated(v, activation);
      }
    }
  }
}

template <int ROWS, class Core>
__device__ __forceinline__ void forward(const Network& network, const float* x, float* y, int rows,
                                        typename Core::Shared& shared) {
  using Value = typename Core::Value;
  DYNAMIC_SHARED(unsigned char, between);
  const int first = static_cast<int>(blockIdx.x) * ROWS;
  const int begin = static_cast<int>(blockIdx.y) * kColumns, step = static_cast<int>(gridDim.y) * kColumns;
  for (int l = 0; l < network.count; ++l) {
    const Layer& layer = network.layers[l];
    const bool last = l + 1 == network.count;
    const int activation = last ? network.last_activation : network.activation;
    unsigned char *from = between + (l % 2 == 0 ? network.second : 0), *to = between + (l % 2 == 0 ? 0 : network.second);
    const Put<Value> put = {reinterpret_cast<Value*>(to),
                            last ? y + static_cast<u64>(first) * layer.out : nullptr,
                            layer.bias,
                            rows - first,
                            layer.out,
                            activation == kRelu};
    const Rows<Value> in = {l == 0 ? x + static_cast<u64>(first) * layer.in : nullptr,
                            reinterpret_cast<const Value*>(from), rows - first, layer.in};
    Core::begin(layer, in, shared);
    for (int c0 = begin; c0 < layer.out; c0 += step) Core::tile(layer, in, c0, shared, put);
    finish<ROWS>(put, activation, begin, step);
    __syncthreads();
  }
}

#if HAS_MMA
template <int ROWS, class T>
using SixteenBits = HalfCore<ROWS, T>;
#else
template <int ROWS, class T>
using SixteenBits = FloatCore<ROWS, HalfRows<T>, T>;
#endif

#define MLP_KERNEL(name, ROWS, ...)                                                                                \
  extern "C" __global__ void __launch_bounds__(256, 2) name(const Network network, const float* x, float* y, int rows) { \
    using Core = __VA_ARGS__;                                                                                      \
    __shared__ typename Core::Shared shared;                                                                       \
    forward<ROWS, Core>(network, x, y, rows, shared);                                                              \
  }

MLP_KERNEL(mlp_float32_16, 16, FloatCore<16, Float32Rows, float>)
MLP_KERNEL(mlp_float32_64, 64, FloatCore<64, Float32Rows, float>)
MLP_KERNEL(mlp_float16_16, 16, SixteenBits<16, f16>)
MLP_KERNEL(mlp_float16_64, 64, SixteenBits<64, f16>)
MLP_KERNEL(mlp_bfloat16_16, 16, SixteenBits<16, bf16>)
MLP_KERNEL(mlp_bfloat16_64, 64, SixteenBits<64, bf16>)
MLP_KERNEL(mlp_int8_16, 16, Int8Core<16>)
MLP_KERNEL(mlp_int8_64, 64, Int8Core<64>)
MLP_KERNEL(mlp_int4_16, 16, FloatCore<16, Int4Rows, float>)
MLP_KERNEL(mlp_int4_64, 64, FloatCore<64, Int4Rows, float>)
