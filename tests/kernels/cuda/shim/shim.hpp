// shim.hpp -- enough of CUDA C++ for a host compiler: included before the text of a `.cu`
// What:    the words of the language (__global__, __shared__, threadIdx), the vector types, the intrinsics and the warp
//          operations that our kernels use. What they do not use is left out, so that its first use is a compile error.
// Why:     the very text that NVRTC compiles runs in a test on a machine without a GPU.
// Threads: one; see fibers.hpp.
// Source:  CUDA C++ Programming Guide, sections 7.22 (shuffles), 7.19-7.21 (votes, matches, reductions); the
//          arrangement of mma.m16n8k16 fragments as in the PTX ISA, section on mma.
// Checked: tests/kernels/cuda/test_shim.py
#pragma once
#define TAILRACE_SHIM 1
#include <cfloat>
#include <climits>
#include <cmath>

#include "launch.hpp"

#ifndef SHIM_KEEP_GLOBAL  // kernels are found by this word in the preprocessed text
#define __global__
#endif
#define __device__
#define __host__
#define __forceinline__ inline
#define __noinline__ __attribute__((noinline))
#define __launch_bounds__(...)
#define __constant__ static
#define __align__(n) alignas(n)
#define __shared__ static __attribute__((section("tailrace_shared"), aligned(16)))
#define threadIdx (shim::running->thread)
#define blockIdx (shim::block_index)
#define blockDim (shim::block_dim)
#define gridDim (shim::grid_dim)
#define warpSize 32

// Vector types, aligned as on the device: a pointer to one that is not aligned is caught.
#define SHIM_VECTORS(T, name)                                                        \
  struct alignas(2 * sizeof(T)) name##2 { T x, y; };                                 \
  struct alignas(4 * sizeof(T) > 16 ? 16 : 4 * sizeof(T)) name##4 { T x, y, z, w; }; \
  inline name##2 make_##name##2(T x, T y) { return {x, y}; }                         \
  inline name##4 make_##name##4(T x, T y, T z, T w) { return {x, y, z, w}; }
SHIM_VECTORS(float, float)
SHIM_VECTORS(int, int)
SHIM_VECTORS(unsigned, uint)
SHIM_VECTORS(unsigned char, uchar)
SHIM_VECTORS(signed char, char)
SHIM_VECTORS(short, short)
SHIM_VECTORS(unsigned short, ushort)
SHIM_VECTORS(double, double)
SHIM_VECTORS(long long, longlong)
SHIM_VECTORS(unsigned long long, ulonglong)

// Barriers.
#define __syncthreads() shim::barrier(__LINE__)
#define __syncthreads_count(p) (shim::barrier(__LINE__, (p) ? 1 : 0), static_cast<int>(shim::barrier_sum))
#define __syncthreads_or(p) (shim::barrier(__LINE__, (p) ? 1 : 0), static_cast<int>(shim::barrier_sum != 0))
#define __syncthreads_and(p) \
  (shim::barrier(__LINE__, (p) ? 1 : 0), static_cast<int>(shim::barrier_sum == shim::barrier_count))
inline void __threadfence() {}
inline void __threadfence_block() {}

// Warp operations.
#define SHIM_ALL 0xffffffffu
#define __syncwarp(...) shim::exchange("__syncwarp", __LINE__, shim::mask_or_all(__VA_ARGS__), 0)
#define __shfl_sync(mask, v, ...) shim::shfl("__shfl_sync", __LINE__, mask, v, __VA_ARGS__)
#define __shfl_xor_sync(mask, v, ...) shim::shfl_xor("__shfl_xor_sync", __LINE__, mask, v, __VA_ARGS__)
#define __shfl_down_sync(mask, v, ...) shim::shfl_down("__shfl_down_sync", __LINE__, mask, v, __VA_ARGS__)
#define __shfl_up_sync(mask, v, ...) shim::shfl_up("__shfl_up_sync", __LINE__, mask, v, __VA_ARGS__)
#define __ballot_sync(mask, p) shim::ballot("__ballot_sync", __LINE__, mask, p)
#define __any_sync(mask, p) static_cast<int>(shim::ballot("__any_sync", __LINE__, mask, p) != 0)
#define __all_sync(mask, p) static_cast<int>(shim::ballot("__all_sync", __LINE__, mask, !(p)) == 0)
#define __match_any_sync(mask, v) shim::match_any("__match_any_sync", __LINE__, mask, v)

namespace shim {

inline unsigned lane() { return running->number % kWarp; }
inline unsigned mask_or_all(unsigned mask = SHIM_ALL) { return mask; }

template <class T>
std::uint64_t to_bits(T v) {
  static_assert(sizeof(T) <= 8);
  std::uint64_t bits = 0;
  std::memcpy(&bits, &v, sizeof v);
  return bits;
}
template <class T>
T from_bits(std::uint64_t bits) {
  T v;
  std::memcpy(&v, &bits, sizeof v);
  return v;
}

template <class T>
T taken(const char* kind, int line, unsigned mask, T v, unsigned from) {
  exchange(kind, line, mask, to_bits(v));
  if ((mask >> from & 1) == 0) fail("line %d: %s reads lane %u, which is not in mask %08x", line, kind, from, mask);
  return from_bits<T>(running->values[from]);
}
template <class T>
T shfl(const char* kind, int line, unsigned mask, T v, int from, int width = 32) {
  const unsigned w = static_cast<unsigned>(width), base = lane() / w * w;
  return taken(kind, line, mask, v, base + static_cast<unsigned>(from) % w);
}
template <class T>
T shfl_xor(const char* kind, int line, unsigned mask, T v, int bits, int width = 32) {
  const unsigned from = lane() ^ static_cast<unsigned>(bits), w = static_cast<unsigned>(width);
  return taken(kind, line, mask, v, from / w > lane() / w ? lane() : from);
}
template <class T>
T shfl_down(const char* kind, int line, unsigned mask, T v, unsigned by, int width = 32) {
  const unsigned w = static_cast<unsigned>(width), from = lane() + by;
  return taken(kind, line, mask, v, from / w != lane() / w ? lane() : from);
}
template <class T>
T shfl_up(const char* kind, int line, unsigned mask, T v, unsigned by, int width = 32) {
  const unsigned w = static_cast<unsigned>(width);
  return taken(kind, line, mask, v, lane() % w < by ? lane() : lane() - by);
}
inline unsigned ballot(const char* kind, int line, unsigned mask, bool p) {
  exchange(kind, line, mask, p ? 1 : 0);
  unsigned bits = 0;
  for (unsigned i = 0; i < kWarp; ++i)
    if ((mask >> i & 1) != 0) bits |= static_cast<unsigned>(running->values[i] & 1) << i;
  return bits;
}
template <class T>
unsigned match_any(const char* kind, int line, unsigned mask, T v) {
  exchange(kind, line, mask, to_bits(v));
  unsigned bits = 0;
  for (unsigned i = 0; i < kWarp; ++i)
    if ((mask >> i & 1) != 0 && running->values[i] == to_bits(v)) bits |= 1u << i;
  return bits;
}

}  // namespace shim

#include "intrinsics.hpp"
#include "tensor_core.hpp"
