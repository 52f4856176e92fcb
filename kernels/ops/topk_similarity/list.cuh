// list.cuh -- the best of what was offered, as a sorted list that a warp keeps in shared memory
// What:    List: `insert` puts one entry in its place; `offer` lets 32 lanes offer one each.
// Why:     place p belongs to lane p % 32, which alone reads and writes it while the list grows: an insertion is one ballot and one
//          shift, and needs no barrier.
// Source:  Johnson, Douze and Jegou, 2017, section 4.
// Checked: tests/kernels/cuda
#pragma once
#include "device.cuh"

constexpr int kWarp = 32;
constexpr int kWarps = 8;
constexpr int kNobody = 0x7fffffff;

__device__ float lowest() { return -__uint_as_float(0x7f800000u); }

__device__ int my_lane() { return static_cast<int>(threadIdx.x) % kWarp; }

__device__ bool better(float score, int index, float than_score, int than_index) {
  return score > than_score || (score == than_score && index < than_index);
}

// List: the best of what was offered, sorted, in shared memory: place p is in slot p / 32 and belongs to lane p % 32, the
// only one to read or write it while the list grows. `worst` is what stands in the last place that counts.
template <int kSlots>
struct List {
  static constexpr int kCapacity = kSlots * kWarp;
  float* score;
  int* index;

  __device__ void clear() const {
    for (int s = 0; s < kSlots; ++s) {
      score[s * kWarp + my_lane()] = lowest();
      index[s * kWarp + my_lane()] = kNobody;
    }
  }

  __device__ void insert(float new_score, int new_index, int kept, float& worst_score, int& worst_index) const {
    const int lane = my_lane();
#pragma unroll
    for (int s = 0; s < kSlots; ++s) {
      float at_score = score[s * kWarp + lane];
      int at_index = index[s * kWarp + lane];
      const unsigned beaten = __ballot_sync(kAllLanes, better(new_score, new_index, at_score, at_index));
      if (beaten != 0) {
        const float out_score = __shfl_sync(kAllLanes, at_score, kWarp - 1);
        const int out_index = __shfl_sync(kAllLanes, at_index, kWarp - 1);
        const float up_score = __shfl_up_sync(kAllLanes, at_score, 1);
        const int up_index = __shfl_up_sync(kAllLanes, at_index, 1);
        const int place = __ffs(static_cast<int>(beaten)) - 1;
        if (lane >= place) {
          at_score = lane > place ? up_score : new_score;
          at_index = lane > place ? up_index : new_index;
          score[s * kWarp + lane] = at_score;
          index[s * kWarp + lane] = at_index;
        }
        new_score = out_score;
        new_index = out_index;
      }
      if (s == (kept - 1) / kWarp) {
        worst_score = __shfl_sync(kAllLanes, at_score, (kept - 1) % kWarp);
        worst_index = __shfl_sync(kAllLanes, at_index, (kept - 1) % kWarp);
      }
    }
  }
};

// What 32 lanes offer to one list, the first lane's first; for a warp that works for one query.
template <int kSlots>
__device__ void offer(const List<kSlots>& list, float score, int index, int kept, float& worst_score,
                      int& worst_index) {
  unsigned good = __ballot_sync(kAllLanes, better(score, index, worst_score, worst_index));
  while (good != 0) {
    const int from = __ffs(static_cast<int>(good)) - 1;
    good &= good - 1;
    const float its_score = __shfl_sync(kAllLanes, score, from);
    const int its_index = __shfl_sync(kAllLanes, index, from);
    if (better(its_score, its_index, worst_score, worst_index)) {
      list.insert(its_score, its_index, kept, worst_score, worst_index);
    }
  }
}
