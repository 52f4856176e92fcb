// gemv.cuh -- one row times one matrix by one block: each agent's own layer, and the two halves of an adapter
// What:    row_times() for float32, float16 and bfloat16 weights. Threads lie side by side along the outputs, 16 bytes of the
//          weight each; what is left of the block splits the inputs, and its sums meet in shared memory.
// Why:     a matrix that one row uses is read once: the bandwidth is all there is, so loads are wide and many in flight.
// Source:  Chen et al. 2023, "Punica", section 4 (a matrix of its own for each row of a batch).
// Checked: tests/kernels/test_ops.py in the shim; "LDG.128" in budgets.toml.
#pragma once
#include "weights.cuh"

constexpr int kMostEach = 8;  // outputs of a thread, at most

// What a block keeps for a product.
struct RowShared {
  float part[kThreads * kMostEach];
};

__device__ __forceinline__ uint4 sixteen_bytes(const u8* at, int bytes, bool wide) {
  if (wide) return __ldg(reinterpret_cast<const uint4*>(at));
  u32 word[4] = {0, 0, 0, 0};
#pragma unroll
  for (int i = 0; i < 16; ++i) {
    if (i < bytes) word[i / 4] |= static_cast<u32>(at[i]) << (i % 4 * 8);
  }
  return make_uint4(word[0], word[1], word[2], word[3]);
}

template <class T>
struct FloatWeight {
  static constexpr int kEach = 16 / static_cast<int>(sizeof(T));
  static __device__ __forceinline__ float at(const uint4& v, int i) {
    const u32 word[4] = {v.x, v.y, v.z, v.w};
    if constexpr (sizeof(T) == 4) {
      return __uint_as_float(word[i]);
    } else {
      T one;
      one.bits = static_cast<u16>(word[i / 2] >> (i % 2 * 16));
      return to_float(one);
    }
  }
  // The sums of the inputs share, share + shares, ... for kEach outputs from `column` on.
  static __device__ __forceinline__ void sum(const Layer& layer, const float* x, int column, int share, int shares,
                                             float (&sum)[kMostEach]) {
    const u8* weight = static_cast<const u8*>(layer.weight);
    const int bytes = (layer.out - column) * static_cast<int>(sizeof(T));
#pragma unroll 4
    for (int k = share; k < layer.in; k += shares) {
      const u64 place = (static_cast<u64>(k) * layer.out + column) * sizeof(T);
      const uint4 v = sixteen_bytes(weight + place, bytes, layer.wide != 0);
#pragma unroll
      for (int i = 0; i < kEach; ++i) sum[i] += x[k] * at(v, i);
    }
  }
};

// The layer of one agent out of those of all.
template <class T>
__device__ __forceinline__ Layer layer_of(const Layer& all, u64 agent) {
  Layer one = all;
  one.weight = static_cast<const T*>(all.weight) + agent * all.in * all.out;
  if (all.bias != nullptr) one.bias = all.bias + agent * all.out;
  return one;
}

// put(c, sum) for every output c of x [in] times the layer; x lies in shared memory, and put() does not write there.
template <class T, class Put>
__device__ __forceinline__ void row_times(const Layer& layer, const float* x, RowShared& shared, const Put& put) {
  constexpr int kEach = FloatWeight<T>::kEach;
  const int thread = static_cast<int>(threadIdx.x);
  int along = 1;  // threads side by side along the outputs
  while (along < kThreads && along * kEach < layer.out) along *= 2;
  const int shares = kThreads / along, share = thread / along;
  for (int c0 = 0; c0 < layer.out; c0 += along * kEach) {
    const int column = c0 + thread % along * kEach;
    float sum[kMostEach] = {};
    if (column < layer.out) FloatWeight<T>::sum(layer, x, column, share, shares, sum);
#pragma unroll
    for (int i = 0; i < kEach; ++i) shared.part[thread * kEach + i] = sum[i];
    __syncthreads();
    for (int i = thread; i < along * kEach && c0 + i < layer.out; i += kThreads) {
      float all = 0.0f;
      for (int s = 0; s < shares; ++s) all += shared.part[s * along * kEach + i];
      put(c0 + i, all);
    }
    __syncthreads();
  }
}
