// cuda.cu -- sample_tokens on the device: one block a row, nothing is sorted
// What:    sample_tokens: from float32 [rows, tokens] one index a row, of what temperature, top-k, top-p and min-p leave; -1 for a row
//          with NaN, +inf or nothing but -inf.
// Why:     what is kept is a prefix of the order "higher logit first, lower index first", so it is told by one cut: a key,
//          and how many of those that equal it. The cut is found by radix selection: a histogram of counts and
//          weights over bins of the distance from the row's highest, then three more over the bits of those in the bin that
//          the cut is in. The first digit is linear in the logit because the leading bits of floats are alike, and
//          threads that add to one bin wait for each other.
//          Weights are the CPU's to the bit, whole numbers, 2^40 for the likeliest: no sum depends on the order of the threads,
//          and the token is the one that the CPU draws.
// Source:  radix selection as in Alabi et al., "Fast K-selection algorithms for graphics processing units", 2012; Philox4x32-10:
//          Salmon et al., 2011.
// Checked: tests/kernels/cuda
#include "device.cuh"

constexpr int kThreads = 1024, kBins = 2048, kDigits = 4;
constexpr float kLeast = -42.5f;  // in log2: the weight rounds to zero from -41 on
constexpr float kBinsOfOne = 48.0f;  // of the first digit, by log2; the last that is used weighs nothing

// What is asked of one row.
struct Draw {
  u64 parts;  // top-p in units of 2^-53; 2^53 and more keeps all
  u64 seed, step;
  double margin;  // log of min-p times the temperature: added to the highest logit it gives the least that is kept
  float scale;  // log2(e) / temperature
  u32 top_k;  // 0 keeps all
};

// Four random words of 32 bits for a counter, two of them as one of 64.
__device__ u64 philox(u64 seed, u64 step, u64 row) {
  u32 c0 = static_cast<u32>(row), c1 = static_cast<u32>(row >> 32), c2 = static_cast<u32>(step),
      c3 = static_cast<u32>(step >> 32), k0 = static_cast<u32>(seed), k1 = static_cast<u32>(seed >> 32);
  for (int round = 0; round < 10; ++round) {
    const u32 high0 = __umulhi(0xd2511f53u, c0), low0 = 0xd2511f53u * c0;
    const u32 high1 = __umulhi(0xcd9e8d57u, c2), low1 = 0xcd9e8d57u * c2;
    c0 = high1 ^ c1 ^ k0;
    c2 = high0 ^ c3 ^ k1;
    c1 = low1;
    c3 = low0;
    k0 += 0x9e3779b9u;
    k1 += 0xbb67ae85u;
  }
  return static_cast<u64>(c1) << 32 | c0;
}

// The row, and what its logits are as keys and weights: the lower a key, the higher the logit.
struct Row {
  const float* logits;
  int count;
  float highest, scale;

  __device__ float log2_weight(float logit) const { return fmaxf(__fmul_rn(__fsub_rn(logit, highest), scale), kLeast); }
  // 2^40 times the weight, rounded to a whole number. Products and sums are rounded one by one, as on the CPU.
  __device__ u64 weight(float logit) const {
    constexpr float kMagic = 12582912.0f;  // 1.5 * 2^23: adding it rounds to a whole number, in the low bits
    const float x = log2_weight(logit), shifted = __fadd_rn(x, kMagic), f = __fsub_rn(x, __fsub_rn(shifted, kMagic));
    float p = 0x1.41fbbcp-13f;
    p = __fadd_rn(__fmul_rn(p, f), 0x1.5f3e54p-10f);
    p = __fadd_rn(__fmul_rn(p, f), 0x1.3b2d4cp-7f);
    p = __fadd_rn(__fmul_rn(p, f), 0x1.c6aee8p-5f);
    p = __fadd_rn(__fmul_rn(p, f), 0x1.ebfbdcp-3f);
    p = __fadd_rn(__fmul_rn(p, f), 0x1.62e430p-1f);
    p = __fadd_rn(__fmul_rn(p, f), 1.0f);
    const u32 exponent = (__float_as_uint(shifted) + 40u) << 23;
    return static_cast<u64>(rintf(__uint_as_float(__float_as_uint(p) + exponent)));
  }
  __device__ u32 bin(float logit) const { return static_cast<u32>(log2_weight(logit) * -kBinsOfOne); }
  __device__ static u32 key(float logit) {
    const u32 bits = __float_as_uint(logit == 0.0f ? 0.0f : logit);
    return (bits & 0x80000000u) != 0 ? bits : ~(bits | 0x80000000u);
  }
};

// The smallest whole number that is at least `parts` / 2^53 of the total, and not 0.
__device__ u64 share(u64 total, u64 parts) {
  constexpr u64 kRest = (1ull << 53) - 1;
  const u64 low = total * parts + kRest, high = __umul64hi(total, parts) + (low < kRest ? 1 : 0);
  const u64 whole = high << 11 | low >> 53;
  return whole > 0 ? whole : 1;
}

// What a selection keeps: keys below `key`, and the first `equal` of those that are `key`.
struct Cut {
  u32 key;
  u32 equal;
  u64 equal_weight;  // of one of them
  u64 weight;  // of all that is kept
};

struct Shared {
  u64* weights;  // [kBins]
  u32* counts;  // [kBins]
  u64* found;  // [4]
};

__device__ u64 scan(u64 v) {
  for (u32 by = 1; by < 32; by *= 2) {
    const u64 before = __shfl_up_sync(kAllLanes, v, by);
    if (threadIdx.x % 32 >= by) v += before;
  }
  return v;
}

// One warp: the first of `bins` at which the running sum of counts, or of weights, reaches `target`. Into `found`: it, and
// the count and the weight before it.
__device__ void find_bin(const Shared& s, int bins, bool by_weight, u64 target) {
  const int lane = static_cast<int>(threadIdx.x), each = bins / 32;
  u64 count = 0, weight = 0;
  for (int i = lane * each; i < (lane + 1) * each; ++i) {
    count += s.counts[i];
    weight += s.weights[i];
  }
  const u64 counts = scan(count), weights = scan(weight);
  const u32 reached = __ballot_sync(kAllLanes, (by_weight ? weights : counts) >= target);
  const int chosen = reached != 0 ? __ffs(static_cast<int>(reached)) - 1 : 31;
  if (lane != chosen) return;
  u64 count_before = counts - count, weight_before = weights - weight;
  int bin = lane * each;
  for (; bin < (lane + 1) * each - 1; ++bin) {
    if ((by_weight ? weight_before + s.weights[bin] : count_before + s.counts[bin]) >= target) break;
    count_before += s.counts[bin];
    weight_before += s.weights[bin];
  }
  s.found[0] = static_cast<u64>(bin);
  s.found[1] = count_before;
  s.found[2] = weight_before;
}

// The cut of the least prefix of the order that has `target` entries, or that weighs `target`.
__device__ Cut select(const Row& row, const Shared& s, bool by_weight, u64 target) {
  const int thread = static_cast<int>(threadIdx.x);
  u32 first = 0, prefix = 0;
  u64 weight = 0, count_before = 0, weight_before = 0;
  for (int digit = 0; digit < kDigits; ++digit) {
    const int shift = digit == 1 ? 21 : digit == 2 ? 10 : 0, bins = digit == 3 ? kBins / 2 : kBins;
    for (int i = thread; i < kBins; i += kThreads) {
      s.counts[i] = 0;
      s.weights[i] = 0;
    }
    __syncthreads();
    for (int i = thread; i < row.count; i += kThreads) {
      const float logit = row.logits[i];
      u32 bin = row.bin(logit);
      if (digit > 0) {
        const u32 key = Row::key(logit);
        const bool mine = bin == first && (digit == 1 || (digit == 2 ? key >> 21 : key >> 10) == prefix);
        bin = mine ? key >> shift & static_cast<u32>(bins - 1) : kBins;
      }
      if (bin < kBins) {
        atomicAdd(&s.counts[bin], 1u);
        atomicAdd(&s.weights[bin], row.weight(logit));
      }
    }
    __syncthreads();
    if (thread < 32) find_bin(s, bins, by_weight, target);
    __syncthreads();
    const u32 bin = static_cast<u32>(s.found[0]);
    count_before = s.found[1];
    weight_before = s.found[2];
    weight += weight_before;
    target -= by_weight ? weight_before : count_before;
    if (digit == 0)
      first = bin;
    else
      prefix = digit == 1 ? bin : digit == 2 ? prefix << 11 | bin : prefix << 10 | bin;
  }
  const u32 equals = s.counts[prefix & (kBins / 2 - 1)];
  const u64 each = equals > 0 ? s.weights[prefix & (kBins / 2 - 1)] / equals : 0;
  u64 equal = by_weight ? (each > 0 ? (target + each - 1) / each : equals) : target;
  equal = equal < 1 ? 1 : equal > equals ? equals : equal;
  __syncthreads();
  return {prefix, static_cast<u32>(equal), each, weight + equal * each};
}

// What is kept of the row, by entries in order of their index.
struct Kept {
  Cut cut;
  float least;

  __device__ bool before(float logit) const { return Row::key(logit) < cut.key && logit >= least; }
  __device__ bool equal(float logit) const { return Row::key(logit) == cut.key && logit >= least; }
};

// One warp: of `entries` stretches, each with its weight before the cut (`weights`) and its equals (`counts`), the one in
// which the running weight exceeds the target; with `random`, the target is that share of the whole weight. Of the equals only
// the first `left` count. Into `found`: the stretch, what is left of the target, what is left of the equals.
__device__ void find_stretch(const Shared& s, int entries, u64 each, u64 left, u64 target, bool draws) {
  const int lane = static_cast<int>(threadIdx.x), width = (entries + 31) / 32;
  const int begin = lane * width < entries ? lane * width : entries;
  const int end = begin + width < entries ? begin + width : entries;
  u64 equals = 0, weight = 0;
  for (int i = begin; i < end; ++i) equals += s.counts[i];
  u64 before = scan(equals) - equals;
  const u64 first = before;
  for (int i = begin; i < end; ++i) {
    const u64 taken = before < left ? (left - before < s.counts[i] ? left - before : s.counts[i]) : 0;
    weight += s.weights[i] + taken * each;
    before += s.counts[i];
  }
  const u64 weights = scan(weight), all = __shfl_sync(kAllLanes, weights, 31);
  if (draws) target = __umul64hi(target, all);
  const u32 exceeds = __ballot_sync(kAllLanes, weights > target);
  if (lane != (exceeds != 0 ? __ffs(static_cast<int>(exceeds)) - 1 : 0)) return;
  u64 sum = weights - weight;
  before = first;
  int i = begin;
  for (; i < end; ++i) {
    const u64 taken = before < left ? (left - before < s.counts[i] ? left - before : s.counts[i]) : 0;
    const u64 its = s.weights[i] + taken * each;
    if (i == end - 1 || sum + its > target) break;
    sum += its;
    before += s.counts[i];
  }
  s.found[0] = static_cast<u64>(i);
  s.found[1] = target - sum;
  s.found[2] = before < left ? left - before : 0;
}

// Draws one of what is kept: first the stretch of the row, then 32 logits of it, then the one.
__device__ int draw(const Row& row, const Shared& s, const Kept& kept, u64 random) {
  const int thread = static_cast<int>(threadIdx.x), lane = thread % 32;
  const int folds = (row.count + kThreads * kBins - 1) / (kThreads * kBins), width = folds * kThreads;
  for (int i = thread; i < kBins; i += kThreads) {
    s.counts[i] = 0;
    s.weights[i] = 0;
  }
  __syncthreads();
  u64 target = random, left = kept.cut.equal;
  int begin = 0, end = row.count;
  for (int level = 0; level < 3; ++level) {
    const int each = level == 0 ? width : level == 1 ? 32 : 1, entries = (end - begin + each - 1) / each;
    for (int first = begin; first < end; first += kThreads) {
      const int i = first + thread;
      const bool inside = i < end;
      const float logit = inside ? row.logits[i] : 0.0f;
      const bool is_equal = inside && kept.equal(logit);
      u64 weight = inside && kept.before(logit) ? row.weight(logit) : 0;
      u32 equals = is_equal ? 1 : 0;
      if (level < 2) {
        for (int bits = 16; bits > 0; bits /= 2) weight += __shfl_xor_sync(kAllLanes, weight, bits);
        equals = static_cast<u32>(__popc(__ballot_sync(kAllLanes, is_equal)));
      }
      const int entry = (first - begin + (level < 2 ? thread - lane : thread)) / each;
      if (entry < entries && level == 0 && lane == 0) {
        atomicAdd(&s.weights[entry], weight);
        atomicAdd(&s.counts[entry], equals);
      } else if (entry < entries && (level == 2 || (level == 1 && lane == 0))) {
        s.weights[entry] = weight;
        s.counts[entry] = equals;
      }
    }
    __syncthreads();
    if (thread < 32) find_stretch(s, entries, kept.cut.equal_weight, left, target, level == 0);
    __syncthreads();
    begin += static_cast<int>(s.found[0]) * each;
    end = end - begin < each ? end : begin + each;
    target = s.found[1];
    left = s.found[2];
    __syncthreads();
  }
  return begin;
}

__device__ u64 sum_of_weights(const Row& row, const Shared& s) {
  const int thread = static_cast<int>(threadIdx.x);
  u64 sum = 0;
  for (int i = thread; i < row.count; i += kThreads) sum += row.weight(row.logits[i]);
  for (int bits = 16; bits > 0; bits /= 2) sum += __shfl_xor_sync(kAllLanes, sum, bits);
  if (thread % 32 == 0) s.weights[thread / 32] = sum;
  __syncthreads();
  sum = s.weights[thread % 32];
  for (int bits = 16; bits > 0; bits /= 2) sum += __shfl_xor_sync(kAllLanes, sum, bits);
  __syncthreads();
  return sum;
}

__device__ float next_above(float v) {
  if (v == 0.0f) return __uint_as_float(1u);
  const u32 bits = __float_as_uint(v);
  return __uint_as_float(v > 0.0f ? bits + 1 : bits - 1);
}

extern "C" __global__ void __launch_bounds__(1024)
    sample_tokens(const float* logits, int* tokens, int count, Draw one, const Draw* each) {
  __shared__ u64 weights[kBins];
  __shared__ u32 counts[kBins];
  __shared__ u64 found[4];
  __shared__ float highest[32];
  const Shared s{weights, counts, found};
  const int thread = static_cast<int>(threadIdx.x);
  const Draw ask = each != nullptr ? each[blockIdx.x] : one;
  const float infinity = __uint_as_float(0x7f800000u);
  Row row{logits + static_cast<i64>(blockIdx.x) * count, count, -infinity, ask.scale};

  bool valid = true;
  float most = -infinity;
  for (int i = thread; i < count; i += kThreads) {
    const float logit = row.logits[i];
    valid &= logit < infinity;  // neither NaN nor +inf
    most = fmaxf(most, logit);
  }
  most = warp_max(most);
  if (thread % 32 == 0) highest[thread / 32] = most;
  valid = __syncthreads_and(valid) != 0;
  row.highest = warp_max(highest[thread % 32]);
  if (!valid || row.highest == -infinity) {
    if (thread == 0) tokens[blockIdx.x] = -1;
    return;
  }

  Kept kept{{0xffffffffu, 0, 0, 0}, -infinity};
  if (ask.margin > -static_cast<double>(infinity)) {
    const double exact = static_cast<double>(row.highest) + ask.margin;
    const float least = static_cast<float>(exact);
    kept.least = static_cast<double>(least) < exact ? next_above(least) : least;
  }
  if (ask.top_k > 0 && ask.top_k < static_cast<u32>(count)) kept.cut = select(row, s, false, ask.top_k);
  if (ask.parts < 1ull << 53) {
    const u64 whole = kept.cut.weight > 0 ? kept.cut.weight : sum_of_weights(row, s);
    kept.cut = select(row, s, true, share(whole, ask.parts));
  }
  const int token = draw(row, s, kept, philox(ask.seed, ask.step, blockIdx.x));
  if (thread == 0) tokens[blockIdx.x] = token;
}
