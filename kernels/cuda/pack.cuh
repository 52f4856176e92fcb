// pack.cuh -- sixteen bytes of a stored row as floats
// What:    Pack<Value, wide>: what one lane reads of a row in one load, and `unpack`, its quad-th values as floats.
//          wide: 4 float32, 8 float16 or 16 int8, for rows that are whole packs and begin at one. Not wide: one value.
// Why:     a warp that loads 16 bytes a lane has four times as much on its way as one that loads four.
// Checked: tests/kernels/cuda, with rows of both kinds
#pragma once
#include "device.cuh"

template <class Value, bool kWide>
struct Pack;

template <>
struct Pack<float, true> {
  static constexpr int kCount = 4, kQuad = 4;
  using Raw = float4;
  static __device__ __forceinline__ void unpack(const Raw& raw, int, float* out) {
    out[0] = raw.x;
    out[1] = raw.y;
    out[2] = raw.z;
    out[3] = raw.w;
  }
};

template <>
struct Pack<f16, true> {
  static constexpr int kCount = 8, kQuad = 4;
  using Raw = uint4;
  static __device__ __forceinline__ void unpack(const Raw& raw, int quad, float* out) {
    const u32 low = quad == 0 ? raw.x : raw.z, high = quad == 0 ? raw.y : raw.w;
    out[0] = to_float(f16{static_cast<u16>(low & 0xffffu)});
    out[1] = to_float(f16{static_cast<u16>(low >> 16)});
    out[2] = to_float(f16{static_cast<u16>(high & 0xffffu)});
    out[3] = to_float(f16{static_cast<u16>(high >> 16)});
  }
};

template <>
struct Pack<i8, true> {
  static constexpr int kCount = 16, kQuad = 4;
  using Raw = uint4;
  static __device__ __forceinline__ void unpack(const Raw& raw, int quad, float* out) {
    const u32 word = quad == 0 ? raw.x : quad == 1 ? raw.y : quad == 2 ? raw.z : raw.w;
#pragma unroll
    for (int i = 0; i < 4; ++i) out[i] = static_cast<float>(static_cast<i8>(word >> (8 * i)));
  }
};

template <class Value>
struct Pack<Value, false> {
  static constexpr int kCount = 1, kQuad = 1;
  using Raw = Value;
  static __device__ __forceinline__ void unpack(Raw raw, int, float* out) { out[0] = as_float(raw); }

 private:
  static __device__ __forceinline__ float as_float(float v) { return v; }
  static __device__ __forceinline__ float as_float(f16 v) { return to_float(v); }
  static __device__ __forceinline__ float as_float(i8 v) { return static_cast<float>(v); }
};
