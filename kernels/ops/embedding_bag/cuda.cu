// cuda.cu -- embedding_bag on the device: one warp a bag, 16 bytes a lane and load
// What:    embedding_bag_{f32,f16,i8}_{wide,narrow}: the sum or mean of the rows that a bag names.
// Why:     a bag is a gather of short rows: the memory system is busy only if every lane asks for 16 bytes and several rows
//          are on their way at once. The warp is split into groups as wide as a row, each group takes every n-th item of
//          the bag, four rows are asked for before the first is added, and the groups' sums meet by shuffles.
// Errors:  a bag with an index outside the table, or with offsets that fall or lie outside the items, becomes NaN: nothing
//          is read outside of an array, and no call has to wait for the device to learn of it.
// Source:  own; a warp for each bag as in FBGEMM (Khudia et al., 2021).
// Checked: tests/kernels/cuda
#include "pack.cuh"

struct BagTable {
  const i64* indices;
  const i64* offsets;
  const float* weights;  // null: 1
  const float* scales;  // null: 1
  float* out;
  i64 rows;
  i64 items;
  i64 bags;
  int dim;
  int mean;
};

template <class Value, bool kWide>
__device__ void add_bag(const Value* table, const BagTable& a) {
  using P = Pack<Value, kWide>;
  constexpr int kAhead = 4, kQuads = P::kCount / P::kQuad;
  const int lane = static_cast<int>(threadIdx.x % 32);
  const i64 bag = static_cast<i64>(blockIdx.x) * (blockDim.x / 32) + threadIdx.x / 32;
  if (bag >= a.bags) return;
  const int packs = a.dim / P::kCount;
  int width = 1;
  while (width < packs && width < 32) width *= 2;
  const int groups = 32 / width, group = lane / width;
  const i64 first = a.offsets[bag], last = a.offsets[bag + 1];
  const bool sound = first >= 0 && first <= last && last <= a.items;
  const float share = a.mean != 0 && last > first ? 1.0f / static_cast<float>(last - first) : 1.0f;

  for (int base = 0; base < packs; base += width) {
    const int pack = base + lane % width;
    const bool inside = pack < packs;
    float sum[P::kCount];
#pragma unroll
    for (int i = 0; i < P::kCount; ++i) sum[i] = 0.0f;
    int stray = sound ? 0 : 1;
    for (i64 at = first + group; sound && at < last; at += static_cast<i64>(groups) * kAhead) {
      typename P::Raw raw[kAhead];
      float factor[kAhead];
      bool take[kAhead];
#pragma unroll
      for (int i = 0; i < kAhead; ++i) {
        const i64 item = at + static_cast<i64>(i) * groups;
        take[i] = item < last;
        if (take[i]) {
          const i64 row = a.indices[item];
          const bool known = row >= 0 && row < a.rows;
          stray |= known ? 0 : 1;
          take[i] = known && inside;
          if (take[i]) {
            factor[i] = (a.weights != nullptr ? a.weights[item] : 1.0f) * (a.scales != nullptr ? a.scales[row] : 1.0f);
            raw[i] = reinterpret_cast<const typename P::Raw*>(table + row * a.dim)[pack];
          }
        }
      }
#pragma unroll
      for (int i = 0; i < kAhead; ++i) {
        if (!take[i]) continue;
#pragma unroll
        for (int quad = 0; quad < kQuads; ++quad) {
          float value[P::kQuad];
          P::unpack(raw[i], quad, value);
#pragma unroll
          for (int j = 0; j < P::kQuad; ++j) {
            sum[quad * P::kQuad + j] = fmaf(value[j], factor[i], sum[quad * P::kQuad + j]);
          }
        }
      }
    }
    for (int step = width; step < 32; step *= 2) {
      stray |= __shfl_xor_sync(kAllLanes, stray, step);
#pragma unroll
      for (int i = 0; i < P::kCount; ++i) sum[i] += __shfl_xor_sync(kAllLanes, sum[i], step);
    }
    if (group == 0 && inside) {
      float* to = a.out + bag * a.dim + static_cast<i64>(pack) * P::kCount;
#pragma unroll
      for (int i = 0; i < P::kCount; ++i) sum[i] = stray != 0 ? __uint_as_float(0x7fc00000u) : sum[i] * share;
      if constexpr (kWide) {
#pragma unroll
        for (int quad = 0; quad < kQuads; ++quad) {
          const float* part = sum + quad * P::kQuad;
          reinterpret_cast<float4*>(to)[quad] = make_float4(part[0], part[1], part[2], part[3]);
        }
      } else {
        to[0] = sum[0];
      }
    }
  }
}

#define EMBEDDING_BAG(name, Value, wide)                                                                          \
  extern "C" __global__ void __launch_bounds__(256, 3)                                                            \
      name(const Value* table, const i64* indices, const i64* offsets, const float* weights, const float* scales, \
           float* out, i64 rows, i64 items, i64 bags, int dim, int mean) {                                        \
    add_bag<Value, wide>(table, BagTable{indices, offsets, weights, scales, out, rows, items, bags, dim, mean});  \
  }

EMBEDDING_BAG(embedding_bag_f32_wide, float, true)
EMBEDDING_BAG(embedding_bag_f16_wide, f16, true)
EMBEDDING_BAG(embedding_bag_i8_wide, i8, true)
EMBEDDING_BAG(embedding_bag_f32_narrow, float, false)
EMBEDDING_BAG(embedding_bag_f16_narrow, f16, false)
EMBEDDING_BAG(embedding_bag_i8_narrow, i8, false)
