// cuda.cu -- networks of dense layers, each row with the weights of its own agent: a block a row, all layers in one launch
// What:    grouped_<kind>: the row goes through the layers of its agent, what lies between stays in shared memory.
// Why:     every weight is read once and used once, so there is nothing but bandwidth; a launch for each agent would cost more.
// Checked: tests/kernels/test_ops.py and tests/kernels/cuda/test_mlp_kernels.py, in the shim; budgets.toml.
#include "activation.cuh"
#include "gemv.cuh"
#include "network.cuh"

// Where a sum goes: into shared memory, or to the caller.
struct Put {
  float* to;
  const float* bias;
  int activation;
  __device__ __forceinline__ void operator()(int c, float sum) const {
    to[c] = activated(bias != nullptr ? sum + bias[c] : sum, activation);
  }
};

// Dynamic shared memory: two rows of `width` floats.
template <class T>
__device__ __forceinline__ void forward(const Network& network, const float* x, const int* agents, float* y, int count,
                                        RowShared& shared) {
  DYNAMIC_SHARED(float, between);
  const int width = network.second;
  const int row = static_cast<int>(blockIdx.x), agent = agents != nullptr ? agents[row] : row;
  const int in = network.layers[0].in, out = network.layers[network.count - 1].out;
  float* result = y + static_cast<u64>(row) * out;
  if (agent < 0 || agent >= count) {  // the same for the whole block
    for (int c = static_cast<int>(threadIdx.x); c < out; c += kThreads) result[c] = __int_as_float(0x7fffffff);
    return;
  }
  for (int k = static_cast<int>(threadIdx.x); k < in; k += kThreads) between[k] = x[static_cast<u64>(row) * in + k];
  __syncthreads();
  for (int l = 0; l < network.count; ++l) {
    const Layer& all = network.layers[l];
    const bool last = l + 1 == network.count;
    const Layer layer = layer_of<T>(all, static_cast<u64>(agent));
    const Put put = {last ? result : between + (l + 1) % 2 * width, layer.bias,
                     last ? network.last_activation : network.activation};
    row_times<T>(layer, between + l % 2 * width, shared, put);
  }
}

#define GROUPED_KERNEL(name, T)                                                                                    \
  extern "C" __global__ void __launch_bounds__(256, 2)                                                             \
      name(const Network network, const float* x, const int* agents, float* y, int count) {                        \
    __shared__ RowShared shared;                                                                                   \
    forward<T>(network, x, agents, y, count, shared);                                                    \
  }

GROUPED_KERNEL(grouped_float32, float)
GROUPED_KERNEL(grouped_float16, f16)
GROUPED_KERNEL(grouped_bfloat16, bf16)
