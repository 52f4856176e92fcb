// cuda.cu -- rows through the adapters that they name: a block a row, both halves of the adapter in one launch
// What:    lora_bgmv_<kind>: x [hidden] times a [hidden, rank] stays in shared memory, then times b [rank, out].
// Source:  Chen et al. 2023, "Punica: Multi-tenant LoRA serving", section 4.
// Checked: tests/kernels/test_ops.py and tests/kernels/cuda/test_rows_kernels.py, in the shim; budgets.toml.
#include "gemv.cuh"

struct Adapters {
  const void *a, *b;
  int count, hidden, rank, out;
  float scale;
  int accumulate, wide_a, wide_b;
};

// Into shared memory.
struct Low {
  float* to;
  __device__ __forceinline__ void operator()(int c, float sum) const { to[c] = sum; }
};

struct Put {
  float* to;
  float scale;
  bool accumulate;
  __device__ __forceinline__ void operator()(int c, float sum) const {
    to[c] = accumulate ? to[c] + scale * sum : scale * sum;
  }
};

// Dynamic shared memory: the row, then what the first half makes of it.
template <class T>
__device__ __forceinline__ void adapt(const Adapters& all, const float* x, const int* adapters, float* y,
                                      RowShared& shared) {
  DYNAMIC_SHARED(float, row);
  const int thread = static_cast<int>(threadIdx.x), number = static_cast<int>(blockIdx.x), adapter = adapters[number];
  float* result = y + static_cast<u64>(number) * all.out;
  if (adapter < 0 || adapter >= all.count) {  // the same for the whole block: none, or a number that is no adapter
    const float nothing = adapter == -1 ? 0.0f : __int_as_float(0x7fffffff);
    for (int c = thread; c < all.out; c += kThreads) result[c] = all.accumulate != 0 ? result[c] + nothing : nothing;
    return;
  }
  for (int k = thread; k < all.hidden; k += kThreads) row[k] = x[static_cast<u64>(number) * all.hidden + k];
  __syncthreads();
  const u64 place = static_cast<u64>(adapter);
  const Layer down = {static_cast<const T*>(all.a) + place * all.hidden * all.rank, nullptr, nullptr, all.hidden,
                      all.rank, 0, all.wide_a};
  const Layer up = {static_cast<const T*>(all.b) + place * all.rank * all.out, nullptr, nullptr, all.rank, all.out, 0,
                    all.wide_b};
  row_times<T>(down, row, shared, Low{row + all.hidden});
  row_times<T>(up, row + all.hidden, shared, Put{result, all.scale, all.accumulate != 0});
}

#define LORA_KERNEL(name, T)                                                                                       \
  extern "C" __global__ void __launch_bounds__(256, 2)                                                             \
      name(const Adapters all, const float* x, const int* adapters, float* y) {                                    \
    __shared__ RowShared shared;                                                                                   \
    adapt<T>(all, x, adapters, y, shared);                                                                         \
  }

LORA_KERNEL(lora_bgmv_float32, float)
LORA_KERNEL(lora_bgmv_float16, f16)
