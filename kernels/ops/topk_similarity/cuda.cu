// cuda.cu -- topk_similarity on the device: scores in registers, a sorted list a warp and query; scores are never stored
// What:    topk_scan_{f32,f16,i8}_{wide,narrow}_{many,one}: the best keys of one stretch of the store for a tile of queries;
//          topk_merge_{many,one}: the best of all stretches, into the caller's arrays; topk_lengths_*: for cosines.
// Why:     the store is read once and scores outnumber answers by far, so a score lives in a register until it is compared
//          with the worst that its list keeps. A warp scores four keys against eight queries at a time: 32 sums for 32
//          lanes, so one transposing reduction (31 shuffles) leaves each lane the total of one pair. `one` is for a single
//          query: a list of 128 in place of 32, one sum a key. More answers than a list holds come by further passes, each below the
//          last answer of the pass before.
// Ties:    of equal scores the lower index is the better one, in every comparison. A NaN is worse than any number.
// Source:  own; lists of a warp as in Johnson, Douze and Jegou, "Billion-scale similarity search with GPUs", 2017, section 4.
// Checked: tests/kernels/cuda
#include "list.cuh"
#include "pack.cuh"

template <int kCount>
struct alignas(4 * kCount) Quad {
  float value[kCount];
};

// Halves the values of a lane and the lanes of a value in turn; lane l ends with the total of value l / (32 / kValues).
template <int kValues>
__device__ float transposing_sum(float* value) {
  const int lane = my_lane();
  int left = kValues;
#pragma unroll
  for (int step = kWarp / 2; step > 0; step /= 2) {
    if (left > 1) {
      left /= 2;
      const bool upper = (lane & step) != 0;
#pragma unroll
      for (int i = 0; i < kValues / 2; ++i) {
        if (i < left) {
          const float kept = upper ? value[left + i] : value[i];
          const float sent = upper ? value[i] : value[left + i];
          value[i] = kept + __shfl_xor_sync(kAllLanes, sent, step);
        }
      }
    } else {
      value[0] += __shfl_xor_sync(kAllLanes, value[0], step);
    }
  }
  return value[0];
}

struct Scan {
  const float* queries;  // [batch, dim]
  const float* query_multipliers;  // [batch] or null
  const float* multipliers;  // [keys] or null: what a dot product is multiplied with
  const float* scores;  // answers of earlier passes, [batch, k]
  const i64* indices;
  float* part_scores;  // [splits, tiles * kQueries, capacity]
  int* part_indices;
  int batch;
  int keys;
  int dim;
  int k;
  int done;
  int kept;
};

template <class Value, bool kWide, int kQueries, int kSlots>
__device__ void scan(const Value* store, const Scan& a, float* tile) {
  using P = Pack<Value, kWide>;
  constexpr int kKeys = 4;
  constexpr int kValues = kKeys * kQueries;
  constexpr int kPer = kWarp / kValues;
  constexpr int kCapacity = kSlots * kWarp;
  const int lane = my_lane();
  const int warp = static_cast<int>(threadIdx.x) / kWarp;
  const int first_query = static_cast<int>(blockIdx.x) * kQueries;
  // Quads of a pack lie apart by all packs of the row, so that the lanes of a warp read neighbours and no bank twice.
  constexpr int kQuad = P::kQuad, kQuads = P::kCount / kQuad;
  const int packs = a.dim / P::kCount;
  for (int at = static_cast<int>(threadIdx.x); at < kQueries * a.dim; at += kWarp * kWarps) {
    const int query = at / a.dim;
    const int feature = at % a.dim;
    const int quad = (query * kQuads + feature % P::kCount / kQuad) * packs + feature / P::kCount;
    float value = 0.0f;
    if (first_query + query < a.batch) {
      value = a.queries[static_cast<i64>(first_query) * a.dim + at];
      if (a.query_multipliers != nullptr) value *= a.query_multipliers[first_query + query];
    }
    tile[quad * kQuad + feature % kQuad] = value;
  }
  float* const list_scores = tile + kQueries * a.dim;
  int* const list_indices = reinterpret_cast<int*>(list_scores + kWarps * kQueries * kCapacity);
  const auto list = [&](int of_warp, int query) {
    const int at = (of_warp * kQueries + query) * kCapacity;
    return List<kSlots>{list_scores + at, list_indices + at};
  };
  __syncthreads();

  // The pair of this lane after the reduction, and the answer that its query has had already.
  const int my_query = (lane / kPer) % kQueries;
  const int my_key = (lane / kPer) / kQueries;
  float bound_score = -lowest();
  int bound_index = -1;
  if (a.done > 0 && first_query + my_query < a.batch) {
    const i64 last = static_cast<i64>(first_query + my_query) * a.k + a.done - 1;
    bound_score = a.scores[last];
    bound_index = static_cast<int>(a.indices[last]);
  }

  for (int q = 0; q < kQueries; ++q) {
    list(warp, q).clear();
  }
  float worst_score = lowest();
  int worst_index = kNobody;
  const int stretch = (a.keys + static_cast<int>(gridDim.y) - 1) / static_cast<int>(gridDim.y);
  const int begin = static_cast<int>(blockIdx.y) * stretch;
  const int end = begin + stretch < a.keys ? begin + stretch : a.keys;
  for (int base = begin + warp * kKeys; base < end; base += kWarps * kKeys) {
    float sum[kValues];
#pragma unroll
    for (int v = 0; v < kValues; ++v) {
      sum[v] = 0.0f;
    }
    for (int pack = lane; pack < packs; pack += kWarp) {
      typename P::Raw raw[kKeys];
#pragma unroll
      for (int i = 0; i < kKeys; ++i) {
        const int key = base + i < end ? base + i : end - 1;
        raw[i] = reinterpret_cast<const typename P::Raw*>(store + static_cast<i64>(key) * a.dim)[pack];
      }
#pragma unroll
      for (int quad = 0; quad < kQuads; ++quad) {
        float value[kKeys][kQuad];
#pragma unroll
        for (int i = 0; i < kKeys; ++i) {
          P::unpack(raw[i], quad, value[i]);
        }
#pragma unroll
        for (int q = 0; q < kQueries; ++q) {
          const Quad<kQuad> query = reinterpret_cast<const Quad<kQuad>*>(tile)[(q * kQuads + quad) * packs + pack];
#pragma unroll
          for (int i = 0; i < kKeys; ++i) {
#pragma unroll
            for (int j = 0; j < kQuad; ++j) {
              sum[i * kQueries + q] = fmaf(value[i][j], query.value[j], sum[i * kQueries + q]);
            }
          }
        }
      }
    }
    float score = transposing_sum<kValues>(sum);
    const int key = base + my_key;
    bool valid = key < end && lane % kPer == 0;
    if (valid) {
      score *= a.multipliers != nullptr ? a.multipliers[key] : 1.0f;
      valid = better(bound_score, bound_index, score, key);
    }
    unsigned good = __ballot_sync(kAllLanes, valid && better(score, key, worst_score, worst_index));
    while (good != 0) {
      const int from = __ffs(static_cast<int>(good)) - 1;
      good &= good - 1;
      const int query = from / kPer % kQueries;
      const float its_score = __shfl_sync(kAllLanes, score, from);
      const int its_key = __shfl_sync(kAllLanes, key, from);
      float new_worst_score = 0.0f;
      int new_worst_index = 0;
      list(warp, query).insert(its_score, its_key, a.kept, new_worst_score, new_worst_index);
      if (my_query == query) {
        worst_score = new_worst_score;
        worst_index = new_worst_index;
      }
    }
  }

  // The warps' lists meet; each query is one warp's, and all its lists go into the first.
  __syncthreads();
  if (warp < kQueries) {
    const List<kSlots> all = list(0, warp);
    worst_score = all.score[a.kept - 1];
    worst_index = all.index[a.kept - 1];
    __syncwarp();
    for (int at = kCapacity + lane; at < kWarps * kCapacity; at += kWarp) {
      const List<kSlots> one = list(at / kCapacity, warp);
      offer<kSlots>(all, one.score[at % kCapacity], one.index[at % kCapacity], a.kept, worst_score, worst_index);
    }
    const i64 to = (static_cast<i64>(blockIdx.y) * gridDim.x * kQueries + first_query + warp) * kCapacity;
    for (int at = lane; at < kCapacity; at += kWarp) {
      a.part_scores[to + at] = all.score[at];
      a.part_indices[to + at] = all.index[at];
    }
  }
}

struct Merge {
  const float* part_scores;
  const int* part_indices;
  float* scores;
  i64* indices;
  int splits;
  int columns;  // queries of the part arrays, the last tile's padding included
  int k;
  int done;
  int kept;
};

template <int kSlots>
__device__ void merge(const Merge& a, float* met_scores, int* met_indices) {
  constexpr int kCapacity = kSlots * kWarp;
  const int lane = my_lane();
  const int warp = static_cast<int>(threadIdx.x) / kWarp;
  const int query = static_cast<int>(blockIdx.x);
  const List<kSlots> list{met_scores + warp * kCapacity, met_indices + warp * kCapacity};
  list.clear();
  float worst_score = lowest();
  int worst_index = kNobody;
  for (int split = warp; split < a.splits; split += kWarps) {
    const i64 from = (static_cast<i64>(split) * a.columns + query) * kCapacity;
    float score[kSlots];
    int index[kSlots];
#pragma unroll
    for (int s = 0; s < kSlots; ++s) {
      score[s] = a.part_scores[from + s * kWarp + lane];
      index[s] = a.part_indices[from + s * kWarp + lane];
    }
#pragma unroll
    for (int s = 0; s < kSlots; ++s) {
      offer<kSlots>(list, score[s], index[s], a.kept, worst_score, worst_index);
    }
  }
  __syncthreads();
  if (warp != 0) {
    return;
  }
  for (int at = kCapacity + lane; at < kWarps * kCapacity; at += kWarp) {
    offer<kSlots>(list, met_scores[at], met_indices[at], a.kept, worst_score, worst_index);
  }
  for (int place = lane; place < a.kept; place += kWarp) {
    const i64 to = static_cast<i64>(query) * a.k + a.done + place;
    // Where there are not as many scores that are numbers: NaN and -1.
    const bool found = list.index[place] != kNobody;
    a.scores[to] = found ? list.score[place] : __uint_as_float(0x7fc00000u);
    a.indices[to] = found ? list.index[place] : -1;
  }
}

// One over the length of each row, with the sign of its scale: what turns a dot product into a cosine; 0 for a row of zeros.
// A warp a row.
template <class Value>
__device__ void invert_lengths(const Value* rows, const float* scales, float* multipliers, int count, int dim) {
  const int row = static_cast<int>(blockIdx.x * kWarps + threadIdx.x / kWarp);
  if (row >= count) return;
  float sum = 0.0f;
  for (int i = my_lane(); i < dim; i += kWarp) {
    float value;
    Pack<Value, false>::unpack(rows[static_cast<i64>(row) * dim + i], 0, &value);
    sum = fmaf(value, value, sum);
  }
  sum = warp_sum(sum);
  if (my_lane() != 0) return;
  const float scale = scales != nullptr ? scales[row] : 1.0f;
  const float sign = scale > 0.0f ? 1.0f : scale < 0.0f ? -1.0f : 0.0f;
  multipliers[row] = sum > 0.0f ? sign / sqrtf(sum) : sign * 0.0f;
}

#define TOPK_SCAN(name, Value, wide, of_tile, slots, blocks)                                                    \
  extern "C" __global__ void __launch_bounds__(256, blocks)                                                     \
      name(const Value* store, const float* queries, const float* query_multipliers, const float* multipliers,  \
           const float* scores, const i64* indices, float* part_scores, int* part_indices, int batch, int keys, \
           int dim, int k, int done, int kept) {                                                                \
    DYNAMIC_SHARED(float, tile);                                                                                \
    const Scan a{queries,                                                                                       \
                 query_multipliers,                                                                             \
                 multipliers,                                                                                   \
                 scores,                                                                                        \
                 indices,                                                                                       \
                 part_scores,                                                                                   \
                 part_indices,                                                                                  \
                 batch,                                                                                         \
                 keys,                                                                                          \
                 dim,                                                                                           \
                 k,                                                                                             \
                 done,                                                                                          \
                 kept};                                                                                         \
    scan<Value, wide, of_tile, slots>(store, a, tile);                                                          \
  }

#define TOPK_MERGE(name, slots)                                                                                     \
  extern "C" __global__ void __launch_bounds__(256)                                                                 \
      name(const float* part_scores, const int* part_indices, float* scores, i64* indices, int splits, int columns, \
           int k, int done, int kept) {                                                                             \
    __shared__ float met_scores[kWarps * slots * kWarp];                                                            \
    __shared__ int met_indices[kWarps * slots * kWarp];                                                             \
    merge<slots>(Merge{part_scores, part_indices, scores, indices, splits, columns, k, done, kept}, met_scores,     \
                 met_indices);                                                                                      \
  }

#define TOPK_LENGTHS(name, Value)                                                            \
  extern "C" __global__ void __launch_bounds__(256)                                          \
      name(const Value* rows, const float* scales, float* multipliers, int count, int dim) { \
    invert_lengths(rows, scales, multipliers, count, dim);                                   \
  }

TOPK_SCAN(topk_scan_f32_wide_many, float, true, 8, 1, 2)
TOPK_SCAN(topk_scan_f32_wide_one, float, true, 1, 4, 2)
TOPK_SCAN(topk_scan_f32_narrow_many, float, false, 8, 1, 2)
TOPK_SCAN(topk_scan_f32_narrow_one, float, false, 1, 4, 2)
TOPK_SCAN(topk_scan_f16_wide_many, f16, true, 8, 1, 2)
TOPK_SCAN(topk_scan_f16_wide_one, f16, true, 1, 4, 2)
TOPK_SCAN(topk_scan_f16_narrow_many, f16, false, 8, 1, 2)
TOPK_SCAN(topk_scan_f16_narrow_one, f16, false, 1, 4, 2)
TOPK_SCAN(topk_scan_i8_wide_many, i8, true, 8, 1, 1)  // two blocks would leave it too few registers
TOPK_SCAN(topk_scan_i8_wide_one, i8, true, 1, 4, 2)
TOPK_SCAN(topk_scan_i8_narrow_many, i8, false, 8, 1, 2)
TOPK_SCAN(topk_scan_i8_narrow_one, i8, false, 1, 4, 2)
TOPK_MERGE(topk_merge_many, 1)
TOPK_MERGE(topk_merge_one, 4)
TOPK_LENGTHS(topk_lengths_f32, float)
TOPK_LENGTHS(topk_lengths_f16, f16)
TOPK_LENGTHS(topk_lengths_i8, i8)
