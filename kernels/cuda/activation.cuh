// activation.cuh -- what a layer may end with; numbered as kernels/cpu/activation.hpp numbers it
// Rules:   NaN stays NaN.
#pragma once
#include "device.cuh"

constexpr int kNone = 0, kRelu = 1, kTanh = 2, kGelu = 3, kSilu = 4;

__device__ __forceinline__ float activated(float v, int activation) {
  if (activation == kRelu) return v < 0.0f ? 0.0f : v;
  if (activation == kTanh) return tanhf(v);
  if (activation == kGelu) return 0.5f * v * (1.0f + erff(v * 0.70710678f));
  if (activation == kSilu) return v / (1.0f + expf(-v));
  return v;
}
