// weights.cuh -- how each kind of weight comes from memory into a tile of shared memory
// What:    for float32, float16, bfloat16, int4 (with its groups' scales) and a transposed float32 one: stage() fills
//          kDepth inputs by kColumns outputs, zeros where the weight has none. All threads of the block come along.
// Why:     16 bytes at a time where the rows begin on 16 bytes, which is where the bandwidth is; else one by one.
// Checked: tests/kernels/test_ops.py in the shim; "LDG.128" in budgets.toml.
#pragma once
#include "device.cuh"

constexpr int kThreads = 256, kColumns = 64, kDepth = 32;

struct Layer {
  const void* weight;  // [in, out]; int4: [ceil(in / 2), out]
  const float* scale;  // int8: [out]; int4: [ceil(in / group), out]
  const float* bias;   // [out], or null
  int in, out, group, wide;  // wide: rows of the weight begin on 16 bytes
};

// float32 as it is.
struct Float32Rows {
  static __device__ __forceinline__ void stage(const Layer& layer, int k0, int c0, float (*to)[kColumns]) {
    const float* weight = static_cast<const float*>(layer.weight);
    for (int i = static_cast<int>(threadIdx.x); i < kDepth * kColumns / 4; i += kThreads) {
      const int k = i / (kColumns / 4), c = i % (kColumns / 4) * 4, column = c0 + c;
      float4 v = {0.0f, 0.0f, 0.0f, 0.0f};
      if (k0 + k < layer.in && column < layer.out) {
        const float* row = weight + static_cast<u64>(k0 + k) * layer.out + column;
        if (layer.wide) {
          v = __ldg(reinterpret_cast<const float4*>(row));
        } else {
          v.x = row[0];
          if (column + 1 < layer.out) v.y = row[1];
          if (column + 2 < layer.out) v.z = row[2];
          if (column + 3 < layer.out) v.w = row[3];
        }
      }
      *reinterpret_cast<float4*>(&to[k][c]) = v;
    }
  }
};

// float32 [out, in]: neighbours along the inputs lie side by side.
struct Float32Columns {
  static __device__ __forceinline__ void stage(const Layer& layer, int k0, int c0, float (*to)[kColumns]) {
    const float* weight = static_cast<const float*>(layer.weight);
    for (int i = static_cast<int>(threadIdx.x); i < kDepth * kColumns; i += kThreads) {
      const int k = i % kDepth, c = i / kDepth;
      const bool inside = k0 + k < layer.in && c0 + c < layer.out;
      to[k][c] = inside ? weight[static_cast<u64>(c0 + c) * layer.in + k0 + k] : 0.0f;
    }
  }
};

// Eight 16-bit values of a row, zeros behind its end.
template <class T>
__device__ __forceinline__ uint4 eight_of(const Layer& layer, int k, int column) {
  uint4 v = {0, 0, 0, 0};
  if (k >= layer.in || column >= layer.out) return v;
  const T* row = static_cast<const T*>(layer.weight) + static_cast<u64>(k) * layer.out + column;
  if (layer.wide) return __ldg(reinterpret_cast<const uint4*>(row));
  u32 part[4] = {0, 0, 0, 0};
#pragma unroll
  for (int j = 0; j < 8; ++j) {
    if (column + j < layer.out) part[j / 2] |= static_cast<u32>(row[j].bits) << (j % 2 * 16);
  }
  return make_uint4(part[0], part[1], part[2], part[3]);
}

// 16-bit floats, widened.
template <class T>
struct HalfRows {
  static __device__ __forceinline__ void stage(const Layer& layer, int k0, int c0, float (*to)[kColumns]) {
    for (int i = static_cast<int>(threadIdx.x); i < kDepth * kColumns / 8; i += kThreads) {
      const int k = i / (kColumns / 8), c = i % (kColumns / 8) * 8;
      const uint4 v = eight_of<T>(layer, k0 + k, c0 + c);
      const u32 part[4] = {v.x, v.y, v.z, v.w};
#pragma unroll
      for (int j = 0; j < 8; ++j) {
        T one;
        one.bits = static_cast<u16>(part[j / 2] >> (j % 2 * 16));
        to[k][c + j] = to_float(one);
      }
    }
  }
};

// int4: a byte is two inputs of one output, each plus 8; a group of inputs shares its scale.
struct Int4Rows {
  static __device__ __forceinline__ void stage(const Layer& layer, int k0, int c0, float (*to)[kColumns]) {
    static_assert(kThreads == kDepth / 2 * kColumns / 4, "one thread for each four bytes");
    const int i = static_cast<int>(threadIdx.x), pair = i / (kColumns / 4), c = i % (kColumns / 4) * 4;
    const int k = k0 + 2 * pair, column = c0 + c;
    u32 bytes = 0x88888888u;
    float4 scale = {0.0f, 0.0f, 0.0f, 0.0f};
    if (k < layer.in && column < layer.out) {
      const u8* row = static_cast<const u8*>(layer.weight) + static_cast<u64>(k / 2) * layer.out + column;
      const float* scales = layer.scale + static_cast<u64>(k / layer.group) * layer.out + column;
      if (layer.wide) {
        bytes = __ldg(reinterpret_cast<const u32*>(row));
        scale = __ldg(reinterpret_cast<const float4*>(scales));
      } else {
        bytes = row[0];
        scale.x = scales[0];
        if (column + 1 < layer.out) bytes |= static_cast<u32>(row[1]) << 8, scale.y = scales[1];
        if (column + 2 < layer.out) bytes |= static_cast<u32>(row[2]) << 16, scale.z = scales[2];
        if (column + 3 < layer.out) bytes |= static_cast<u32>(row[3]) << 24, scale.w = scales[3];
      }
    }
    const float by[4] = {scale.x, scale.y, scale.z, scale.w};
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      const int both = static_cast<int>(bytes >> (8 * j) & 0xffu);
      to[2 * pair][c + j] = static_cast<float>((both & 15) - 8) * by[j];
      to[2 * pair + 1][c + j] = static_cast<float>((both >> 4) - 8) * by[j];
    }
  }
};
