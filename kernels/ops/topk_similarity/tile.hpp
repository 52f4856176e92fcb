// tile.hpp -- a few queries against a group of panels: scores in registers, and what passes the threshold.
//
// What      `score_group`: all queries of a block against the keys of a group, `tile_begin`: how a block is cut into tiles.
// Why       Scores live for some cycles: one comparison per vector, and a branch that is almost never taken.
// Threads   One; `Pass` is the state of one block of queries.
// Source    Goto and van de Geijn, 2008: the register tile of a matrix product.
// Checked   tests/kernels/test_topk_similarity.py: every number of queries up to two tiles, at every level.
#pragma once

#include <algorithm>
#include <cstddef>

#include "cpu/vec.hpp"
#include "ops/topk_similarity/best.hpp"
#include "ops/topk_similarity/cpu.hpp"

namespace tailrace::kernels::TAILRACE_ISA {
namespace {

// Queries x keys that are scored side by side in registers: 12 x 32, 6 x 16, 2 x 16.
#if TAILRACE_ISA_LEVEL >= 2
inline constexpr std::size_t kPanels = 2, kTile = 12;
#elif TAILRACE_ISA_LEVEL == 1
inline constexpr std::size_t kPanels = 1, kTile = 6;
#else
inline constexpr std::size_t kPanels = 1, kTile = 2;
#endif
inline constexpr std::size_t kGroup = kPanels * kPanelKeys;
inline constexpr std::size_t kVectors = kGroup / kLanes;

struct Group {
  const float* multipliers;  // [kGroup] or null
  std::size_t first;  // its first key
  std::size_t count;  // how many of its keys there are
  const char* ahead;  // what will be read next, and how much of it there is
  std::size_t ahead_bytes;
};

struct Pass {
  Best* best;  // one per query of the block
  std::size_t dim;
  std::size_t k;
  std::size_t first_query;
  TopkNan nan{false, 0, 0};
};

TAILRACE_INLINE bool none_passes(F32 scores, float threshold) {
#if TAILRACE_ISA_LEVEL >= 2
  return _mm512_cmp_ps_mask(scores, splat(threshold), _CMP_NLE_UQ) == 0;
#elif TAILRACE_ISA_LEVEL == 1
  return _mm256_movemask_ps(_mm256_cmp_ps(scores, splat(threshold), _CMP_NLE_UQ)) == 0;
#else
  float lanes[kLanes];
  store(lanes, scores);
  bool none = true;
  for (float lane : lanes) none &= lane <= threshold;
  return none;
#endif
}

// What is not below the threshold: new among the best, or not a number.
__attribute__((noinline)) void take(F32 scores, std::size_t query, std::size_t key, std::size_t end, Pass& pass) {
  float lanes[kLanes];
  store(lanes, scores);
  Best& best = pass.best[query];
  for (std::size_t i = 0; i < kLanes && key + i < end; ++i) {
    if (lanes[i] <= best.threshold) continue;
    if (lanes[i] != lanes[i]) {
      if (!pass.nan.found) pass.nan = {true, pass.first_query + query, key + i};
      return;
    }
    best.add(lanes[i], key + i, pass.k);
  }
}

// Q queries, packed as [dim][Q], against a group of panels.
template <std::size_t Q, class T>
void score_tile(const T* panels, const float* queries, std::size_t query, const Group& group, Pass& pass) {
  F32 sums[Q][kVectors];
  for (auto& row : sums)
    for (auto& part : row) part = splat(0);
  const char* ahead = group.ahead;
  const std::size_t lines = group.ahead_bytes / 64;
  for (std::size_t d = 0; d < pass.dim; ++d) {
    F32 keys[kVectors];
    for (std::size_t v = 0; v < kVectors; ++v) {
      const std::size_t lane = v * kLanes;
      keys[v] = load(panels + (lane / kPanelKeys * pass.dim + d) * kPanelKeys + lane % kPanelKeys);
    }
    if (d < lines) __builtin_prefetch(ahead + d * 64);
    for (std::size_t q = 0; q < Q; ++q) {
      const F32 value = splat(queries[d * Q + q]);
      for (std::size_t v = 0; v < kVectors; ++v) sums[q][v] = fma(keys[v], value, sums[q][v]);
    }
  }
  for (std::size_t q = 0; q < Q; ++q)
    for (std::size_t v = 0; v < kVectors; ++v) {
      F32 scores = sums[q][v];
      if (group.multipliers != nullptr) scores = scores * load(group.multipliers + v * kLanes);
      if (!none_passes(scores, pass.best[query + q].threshold)) [[unlikely]]
        take(scores, query + q, group.first + v * kLanes, group.first + group.count, pass);
    }
}

template <class T>
void score_tile(std::size_t q, const T* panels, const float* queries, std::size_t query, const Group& group,
                Pass& pass) {
  switch (q) {
    case 1:
      return score_tile<1>(panels, queries, query, group, pass);
    case 2:
      return score_tile<2>(panels, queries, query, group, pass);
#if TAILRACE_ISA_LEVEL >= 1
    case 3:
      return score_tile<3>(panels, queries, query, group, pass);
    case 4:
      return score_tile<4>(panels, queries, query, group, pass);
    case 5:
      return score_tile<5>(panels, queries, query, group, pass);
    case 6:
      return score_tile<6>(panels, queries, query, group, pass);
#endif
#if TAILRACE_ISA_LEVEL >= 2
    case 7:
      return score_tile<7>(panels, queries, query, group, pass);
    case 8:
      return score_tile<8>(panels, queries, query, group, pass);
    case 9:
      return score_tile<9>(panels, queries, query, group, pass);
    case 10:
      return score_tile<10>(panels, queries, query, group, pass);
    case 11:
      return score_tile<11>(panels, queries, query, group, pass);
    default:
      return score_tile<12>(panels, queries, query, group, pass);
#endif
  }
}

// Where tile t of n queries begins: tiles as equal as can be.
TAILRACE_INLINE std::size_t tile_begin(std::size_t t, std::size_t tiles, std::size_t n) { return t * n / tiles; }

template <class T>
void score_group(const T* panels, const float* queries, std::size_t n, Group group, Pass& pass) {
  const std::size_t tiles = (n + kTile - 1) / kTile;
  for (std::size_t t = 0; t < tiles; ++t) {
    const std::size_t from = tile_begin(t, tiles, n), to = tile_begin(t + 1, tiles, n);
    score_tile(to - from, panels, queries + from * pass.dim, from, group, pass);
    const std::size_t asked = std::min(group.ahead_bytes, pass.dim * 64);
    group.ahead += asked;
    group.ahead_bytes -= asked;
  }
}

}  // namespace
}  // namespace tailrace::kernels::TAILRACE_ISA
