// device.cuh -- what our kernels share: 16-bit floats, wide loads, sums over a warp, the tensor core
// What:    included by every `cuda.cu` first. It needs no header of the toolkit, so NVRTC needs no include path.
// Why:     one spelling of what is device code here and plain C++ in the tests' shim (TAILRACE_SHIM).
// Rules:   a kernel is `extern "C" __global__`; __shared__ arrays are declared in the kernel itself, not in a template or
//          an inline function, and handed on as pointers; dynamic shared memory comes from DYNAMIC_SHARED. Warp
//          operations name the full mask and are reached by all lanes: a lane with nothing to do goes along.
// Source:  PTX ISA: cvt, mma.m16n8k16 (sm_80 and later).
// Checked: tests/kernels/cuda
#pragma once

using i8 = signed char;
using u8 = unsigned char;
using i16 = short;
using u16 = unsigned short;
using i32 = int;
using u32 = unsigned int;
using i64 = long long;
using u64 = unsigned long long;

// The bits of a float16 or bfloat16 in memory; arithmetic is in float.
struct f16 {
  static constexpr char kDtype = 'f';
  u16 bits;
};
struct bf16 {
  static constexpr char kDtype = 'B';
  u16 bits;
};

constexpr u32 kAllLanes = 0xffffffffu;

#ifdef TAILRACE_SHIM
#define DYNAMIC_SHARED(type, name) type* name = reinterpret_cast<type*>(shim::dynamic_begin)
#else
#define DYNAMIC_SHARED(type, name)                                   \
  extern __shared__ __align__(16) unsigned char tailrace_dynamic[]; \
  type* name = reinterpret_cast<type*>(tailrace_dynamic)
#endif

__device__ __forceinline__ float to_float(float v) { return v; }
__device__ __forceinline__ float to_float(f16 v) {
#ifdef TAILRACE_SHIM
  return shim::half_to_float(v.bits);
#else
  float f;
  asm("cvt.f32.f16 %0, %1;" : "=f"(f) : "h"(v.bits));
  return f;
#endif
}
__device__ __forceinline__ float to_float(bf16 v) { return __uint_as_float(static_cast<u32>(v.bits) << 16); }

__device__ __forceinline__ void from_float(float f, float& v) { v = f; }
__device__ __forceinline__ void from_float(float f, f16& v) {
#ifdef TAILRACE_SHIM
  v.bits = shim::float_to_half(f);
#else
  asm("cvt.rn.f16.f32 %0, %1;" : "=h"(v.bits) : "f"(f));
#endif
}
// To the nearest, ties to even; by integers, since cvt to bf16 begins with sm_80.
__device__ __forceinline__ void from_float(float f, bf16& v) {
  const u32 bits = __float_as_uint(f);
  const bool nan = (bits & 0x7fffffffu) > 0x7f800000u;
  v.bits = static_cast<u16>(nan ? 0x7fc0u : (bits + 0x7fffu + (bits >> 16 & 1u)) >> 16);
}
template <class T>
__device__ __forceinline__ T rounded_to(float f) {
  T v;
  from_float(f, v);
  return v;
}

__device__ __forceinline__ bool is_aligned(const void* p, u32 bytes) {
  return (reinterpret_cast<unsigned long>(p) & (bytes - 1)) == 0;
}

// Over all 32 lanes; every lane has the result.
__device__ __forceinline__ float warp_sum(float v) {
  for (int bits = 16; bits > 0; bits /= 2) v += __shfl_xor_sync(kAllLanes, v, bits);
  return v;
}
__device__ __forceinline__ i32 warp_sum(i32 v) {
  for (int bits = 16; bits > 0; bits /= 2) v += __shfl_xor_sync(kAllLanes, v, bits);
  return v;
}
__device__ __forceinline__ float warp_max(float v) {
  for (int bits = 16; bits > 0; bits /= 2) v = fmaxf(v, __shfl_xor_sync(kAllLanes, v, bits));
  return v;
}

// d += a b on the tensor core, for the 16-bit float T; fragments as the PTX ISA arranges them. Before sm_80 there is no
// such instruction of this shape: HAS_MMA says whether a kernel may take this path.
#if defined(TAILRACE_SHIM)
#define HAS_MMA 1
#elif defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
#define HAS_MMA 1
#else
#define HAS_MMA 0
#endif

__device__ __forceinline__ void mma_m16n8k16(float (&d)[4], const u32 (&a)[4], const u32 (&b)[2], f16) {
#if defined(TAILRACE_SHIM)
  shim::mma_m16n8k16(d, a, b, false, __LINE__);
#elif HAS_MMA
  asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#endif
}
__device__ __forceinline__ void mma_m16n8k16(float (&d)[4], const u32 (&a)[4], const u32 (&b)[2], bf16) {
#if defined(TAILRACE_SHIM)
  shim::mma_m16n8k16(d, a, b, true, __LINE__);
#elif HAS_MMA
  asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#endif
}

// Four (a) or two (b) 8 x 8 matrices of 16-bit values out of shared memory: lane i names a row of eight, 16 bytes,
// of matrix i / 8. Turned: a lane gets neighbours along a column in place of along a row.
template <class T>
__device__ __forceinline__ void load_matrices(u32 (&r)[4], const T* row) {
#if defined(TAILRACE_SHIM)
  shim::load_matrices(r, 4, row, false, __LINE__);
#else
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(static_cast<u32>(__cvta_generic_to_shared(row))));
#endif
}
template <class T>
__device__ __forceinline__ void load_matrices_turned(u32 (&r)[2], const T* row) {
#if defined(TAILRACE_SHIM)
  shim::load_matrices(r, 2, row, true, __LINE__);
#else
  asm volatile("ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%0,%1}, [%2];"
               : "=r"(r[0]), "=r"(r[1])
               : "r"(static_cast<u32>(__cvta_generic_to_shared(row))));
#endif
}
