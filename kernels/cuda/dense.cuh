// dense.cuh -- a tile of a layer: ROWS rows of the input times 64 columns of the weight, by 256 threads
// What:    three cores with one face. FloatCore multiplies in float32, whatever kind the weight is in memory. HalfCore takes
//          16-bit floats to the tensor core. Int8Core quantises each row by its own largest magnitude and sums with dp4a.
//          A core's tile() calls out(row, column, sum) for each element; bias and activation are the caller's.
// Why:     mlp_forward runs whole networks in one launch with them, pca_project one product.
// Source:  tiles through shared memory as in the CUDA C++ Best Practices Guide, section 9.2.3; rows quantised by their own
//          largest magnitude: Yao et al. 2022, "ZeroQuant", section 3.
// Checked: tests/kernels/test_ops.py and tests/kernels/cuda/test_mlp_kernels.py, in the shim.
#pragma once
#include "weights.cuh"

template <int ROWS, class Rows, class Between>
struct FloatCore {
  using Value = Between;  // what lies between two layers
  struct Shared {
    float x[kDepth][ROWS + 1];
    float w[kDepth][kColumns];
  };

  template <class In>
  static __device__ __forceinline__ void begin(const Layer&, const In&, Shared&) {}

  template <class In, class Out>
  static __device__ __forceinline__ void tile(const Layer& layer, const In& in, int c0, Shared& shared, const Out& out) {
    constexpr int kEach = ROWS / 16;  // rows of a thread, by 4 columns
    const int thread = static_cast<int>(threadIdx.x), row = thread / 16 * kEach, column = thread % 16 * 4;
    float sum[kEach][4] = {};
    for (int k0 = 0; k0 < layer.in; k0 += kDepth) {
      for (int i = thread; i < ROWS * kDepth; i += kThreads) {
        shared.x[i % kDepth][i / kDepth] = in(i / kDepth, k0 + i % kDepth);
      }
      Rows::stage(layer, k0, c0, shared.w);
      __syncthreads();
#pragma unroll 8
      for (int k = 0; k < kDepth; ++k) {
        const float4 w = *reinterpret_cast<const float4*>(&shared.w[k][column]);
#pragma unroll
        for (int r = 0; r < kEach; ++r) {
          const float x = shared.x[k][row + r];
          sum[r][0] += x * w.x;
          sum[r][1] += x * w.y;
          sum[r][2] += x * w.z;
          sum[r][3] += x * w.w;
        }
      }
      __syncthreads();
    }
#pragma unroll
    for (int r = 0; r < kEach; ++r) {
#pragma unroll
      for (int c = 0; c < 4; ++c) out(row + r, c0 + column + c, sum[r][c]);
    }
  }
};

// Rows of 80 and 144 bytes: eight of them in a row of a matrix load touch different banks.
template <int ROWS, class T>
struct HalfCore {
  using Value = T;
  struct Shared {
    alignas(16) T x[ROWS][kDepth + 8];
    alignas(16) T w[kDepth][kColumns + 8];
  };

  template <class In>
  static __device__ __forceinline__ void begin(const Layer&, const In&, Shared&) {}

  template <class In, class Out>
  static __device__ __forceinline__ void tile(const Layer& layer, const In& in, int c0, Shared& shared, const Out& out) {
    constexpr int kBands = ROWS / 16, kEach = kBands;  // 16 rows to a band, 8 columns to a product
    const int thread = static_cast<int>(threadIdx.x), lane = thread % 32, warp = thread / 32;
    const int band = warp % kBands * 16, first = warp / kBands * kEach * 8;
    float sum[kEach][4] = {};
    for (int k0 = 0; k0 < layer.in; k0 += kDepth) {
      for (int i = thread; i < ROWS * kDepth; i += kThreads) {
        from_float(in(i / kDepth, k0 + i % kDepth), shared.x[i / kDepth][i % kDepth]);
      }
      {
        static_assert(kThreads == kDepth * kColumns / 8, "one thread for each eight values");
        const int k = thread / (kColumns / 8), c = thread % (kColumns / 8) * 8;
        *reinterpret_cast<uint4*>(&shared.w[k][c]) = eight_of<T>(layer, k0 + k, c0 + c);
      }
      __syncthreads();
#pragma unroll
      for (int k = 0; k < kDepth; k += 16) {
        u32 a[4];
        load_matrices(a, &shared.x[band + lane % 16][k + lane / 16 * 8]);
#pragma unroll
        for (int n = 0; n < kEach; ++n) {
          u32 b[2];
          load_matrices_turned(b, &shared.w[k + lane % 16][first + n * 8]);
          mma_m16n8k16(sum[n], a, b, T{});
        }
      }
      __syncthreads();
    }
#pragma unroll
    for (int n = 0; n < kEach; ++n) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        out(band + lane / 4 + i / 2 * 8, c0 + first + n * 8 + lane % 4 * 2 + i % 2, sum[n][i]);
      }
    }
  }
};

constexpr float kLeast = 1e-30f;  // a row that holds less is zeros: what 127 is divided by stays a float

// What a value of a row is as a byte. The product is rounded to a float first, as the reference does it.
__device__ __forceinline__ u32 code_of(float v, float by) {
  return static_cast<u32>(__float2int_rn(by == 0.0f ? 0.0f : __fmul_rn(v, by))) & 0xffu;
}

template <int ROWS>
struct Int8Core {
  using Value = float;
  static constexpr int kQuads = 16;  // of four inputs each, at a time
  struct Shared {
    int x[kQuads][ROWS + 1];
    alignas(16) int w[kQuads][kColumns];
    float scale[ROWS], inverse[ROWS];
  };

  // The scale of each row; before the tiles of a layer.
  template <class In>
  static __device__ __forceinline__ void begin(const Layer& layer, const In& in, Shared& shared) {
    const int lane = static_cast<int>(threadIdx.x) % 32;
    for (int row = static_cast<int>(threadIdx.x) / 32; row < ROWS; row += kThreads / 32) {
      float most = 0.0f, wrong = 0.0f;
      for (int k = lane; k < layer.in; k += 32) {
        const float v = in(row, k);
        most = fmaxf(most, fabsf(v));
        wrong += v - v;  // 0, or NaN of one that is not finite: so is the row's result then
      }
      most = warp_max(most);
      wrong = warp_sum(wrong);
      if (lane == 0) {
        const bool nothing = most < kLeast;
        shared.scale[row] = (nothing ? 0.0f : __fdiv_rn(most, 127.0f)) + wrong;
        shared.inverse[row] = nothing || wrong != 0.0f ? 0.0f : __fdiv_rn(127.0f, most);
      }
    }
    __syncthreads();
  }

  static __device__ __forceinline__ u32 four_of(const Layer& layer, int k, int column) {
    if (k >= layer.in || column >= layer.out) return 0;
    const u8* row = static_cast<const u8*>(layer.weight) + static_cast<u64>(k) * layer.out + column;
    if (layer.wide) return __ldg(reinterpret_cast<const u32*>(row));
    u32 bytes = row[0];
    if (column + 1 < layer.out) bytes |= static_cast<u32>(row[1]) << 8;
    if (column + 2 < layer.out) bytes |= static_cast<u32>(row[2]) << 16;
    if (column + 3 < layer.out) bytes |= static_cast<u32>(row[3]) << 24;
    return bytes;
  }

  template <class In, class Out>
  static __device__ __forceinline__ void tile(const Layer& layer, const In& in, int c0, Shared& shared, const Out& out) {
    constexpr int kEach = ROWS / 16;
    const int thread = static_cast<int>(threadIdx.x), row = thread / 16 * kEach, column = thread % 16 * 4;
    int sum[kEach][4] = {};
    for (int k0 = 0; k0 < layer.in; k0 += 4 * kQuads) {
      for (int i = thread; i < ROWS * kQuads; i += kThreads) {
        const int r = i / kQuads, k = k0 + i % kQuads * 4;
        const float by = shared.inverse[r];
        u32 four = 0;
#pragma unroll
        for (int j = 0; j < 4; ++j) four |= code_of(in(r, k + j), by) << (8 * j);
        shared.x[i % kQuads][r] = static_cast<int>(four);
      }
      {
        static_assert(kThreads == kQuads * kColumns / 4, "one thread for each square of four by four");
        const int quad = thread / 16, k = k0 + 4 * quad;
        const u32 r0 = four_of(layer, k, c0 + column), r1 = four_of(layer, k + 1, c0 + column);
        const u32 r2 = four_of(layer, k + 2, c0 + column), r3 = four_of(layer, k + 3, c0 + column);
        const u32 low = __byte_perm(r0, r1, 0x5140), low2 = __byte_perm(r2, r3, 0x5140);
        const u32 high = __byte_perm(r0, r1, 0x7362), high2 = __byte_perm(r2, r3, 0x7362);
        int4 turned;
        turned.x = static_cast<int>(__byte_perm(low, low2, 0x5410));
        turned.y = static_cast<int>(__byte_perm(low, low2, 0x7632));
        turned.z = static_cast<int>(__byte_perm(high, high2, 0x5410));
        turned.w = static_cast<int>(__byte_perm(high, high2, 0x7632));
        *reinterpret_cast<int4*>(&shared.w[quad][column]) = turned;
      }
      __syncthreads();
#pragma unroll
      for (int quad = 0; quad < kQuads; ++quad) {
        const int4 w = *reinterpret_cast<const int4*>(&shared.w[quad][column]);
#pragma unroll
        for (int r = 0; r < kEach; ++r) {
          const int x = shared.x[quad][row + r];
          sum[r][0] = __dp4a(x, w.x, sum[r][0]);
          sum[r][1] = __dp4a(x, w.y, sum[r][1]);
          sum[r][2] = __dp4a(x, w.z, sum[r][2]);
          sum[r][3] = __dp4a(x, w.w, sum[r][3]);
        }
      }
      __syncthreads();
    }
#pragma unroll
    for (int r = 0; r < kEach; ++r) {
      const float scale = shared.scale[row + r];
#pragma unroll
      for (int c = 0; c < 4; ++c) {
        const int at = c0 + column + c;
        if (at < layer.out) out(row + r, at, static_cast<float>(sum[r][c]) * scale * layer.scale[at]);
      }
    }
  }
};
