#include "ops/topk_similarity/cpu.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>

#include "cpu/scratch.hpp"
#include "cpu/target.hpp"
#include "cpu/vec.hpp"
#include "ops/topk_similarity/best.hpp"
#include "ops/topk_similarity/panel.hpp"
#include "ops/topk_similarity/tile.hpp"

namespace tailrace::kernels::TAILRACE_ISA {
namespace {

inline constexpr std::size_t kBlock = 64;  // queries in one pass over the keys: what L2 holds beside a group

// The queries of a block, tile by tile as [dim][queries of the tile]; of length one for cosine.
void pack_queries(const float* queries, std::size_t n, std::size_t dim, bool cosine, float* out) {
  const std::size_t tiles = (n + kTile - 1) / kTile;
  for (std::size_t t = 0; t < tiles; ++t) {
    const std::size_t from = tile_begin(t, tiles, n), to = tile_begin(t + 1, tiles, n);
    for (std::size_t q = from; q < to; ++q) {
      double scale = 1;
      if (cosine) {
        double square = 0;
        for (std::size_t d = 0; d < dim; ++d)
          square += static_cast<double>(queries[q * dim + d]) * static_cast<double>(queries[q * dim + d]);
        scale = square == 0 ? 0 : 1 / std::sqrt(square);
      }
      for (std::size_t d = 0; d < dim; ++d)
        out[from * dim + d * (to - from) + (q - from)] =
            static_cast<float>(scale * static_cast<double>(queries[q * dim + d]));
    }
  }
}

// The panels of a group as floats, if they are not that already, with the multipliers that go with them.
template <class T>
const float* floats_of(const TopkArgs<T>& a, bool once, Group& group, float* panels, float* multipliers) {
  if (a.packed) {
    const std::size_t used = panels_of(group.count) * kPanelKeys * a.dim;
    widen_panels(a.keys + group.first * a.dim, used, panels);
    std::fill(panels + used, panels + kGroup * a.dim, 0.0f);
    return panels;
  }
  for (std::size_t p = 0; p < kPanels; ++p) {
    const std::size_t first = p * kPanelKeys;
    const std::size_t rows = group.count > first ? std::min(kPanelKeys, group.count - first) : 0;
    const T* keys = a.keys + (group.first + first) * a.dim;
    const bool more = once && group.first + first + 2 * kPanelKeys <= a.count;
    transpose_rows(keys, rows, a.dim, panels + first * a.dim, more ? keys + kPanelKeys * a.dim : nullptr);
    if (a.cosine) inverse_lengths(panels + first * a.dim, a.dim, multipliers + first);
  }
  if (a.multipliers != nullptr)
    for (std::size_t i = 0; i < group.count; ++i) {
      const float scale = a.multipliers[group.first + i];
      if (!a.cosine)
        multipliers[i] = scale;
      else
        multipliers[i] *= static_cast<float>((scale > 0) - (scale < 0));
    }
  if (a.cosine || a.multipliers != nullptr) group.multipliers = multipliers;
  return panels;
}

struct TopkTag;

template <class T>
TopkNan search(const TopkArgs<T>& a) {
  const std::size_t most = std::min(a.batch, kBlock), room = buffer_entries(a.k);
  const std::size_t entry_bytes = most * room * sizeof(Entry), best_bytes = (most * sizeof(Best) + 63) / 64 * 64;
  std::byte* memory = scratch<TopkTag>((kGroup + most) * a.dim * sizeof(float) + kGroup * sizeof(float) + best_bytes +
                                       entry_bytes + 64);
  auto* panels = reinterpret_cast<float*>(memory);
  auto* multipliers = panels + kGroup * a.dim;
  auto* best = reinterpret_cast<Best*>(multipliers + kGroup);
  auto* entries = reinterpret_cast<Entry*>(reinterpret_cast<std::byte*>(best) + best_bytes);
  auto* queries = reinterpret_cast<float*>(reinterpret_cast<std::byte*>(entries) + entry_bytes);
  std::fill(multipliers, multipliers + kGroup, 0.0f);

  for (std::size_t block = 0; block < a.batch; block += kBlock) {
    const std::size_t n = std::min(kBlock, a.batch - block);
    for (std::size_t q = 0; q < n; ++q) best[q] = {entries + q * room, 0, std::numeric_limits<float>::quiet_NaN()};
    Pass pass{best, a.dim, a.k, block};
    pack_queries(a.queries + block * a.dim, n, a.dim, a.cosine, queries);
    // Panels are read where they lie if that is done once, or if they need no widening.
    const bool once = n <= kTile;
    const bool in_place = a.packed && (once || sizeof(T) == sizeof(float));
    const std::size_t key_bytes = a.dim * sizeof(T);
    for (std::size_t first = 0; first < a.count && !pass.nan.found; first += kGroup) {
      Group group{nullptr, first, std::min(kGroup, a.count - first), nullptr, 0};
      const std::size_t next = first + kGroup;
      if (next < a.count && (a.packed || !once)) {
        group.ahead = reinterpret_cast<const char*>(a.keys) + next * key_bytes;
        group.ahead_bytes = std::min(kGroup, a.count - next) * key_bytes;
      }
      const bool whole = group.count + kPanelKeys > kGroup;  // all of its panels are there
      if (a.packed && a.multipliers != nullptr) {
        group.multipliers = a.multipliers + first;
        if (!whole) {
          const std::size_t used = panels_of(group.count) * kPanelKeys;
          for (std::size_t m = 0; m < kGroup; ++m) multipliers[m] = m < used ? group.multipliers[m] : 0.0f;
          group.multipliers = multipliers;
        }
      }
      if (in_place && whole)
        score_group(a.keys + first * a.dim, queries, n, group, pass);
      else {
        const float* floats = floats_of(a, once, group, panels, multipliers);
        score_group(floats, queries, n, group, pass);
      }
    }
    if (pass.nan.found) return pass.nan;
    for (std::size_t q = 0; q < n; ++q) best[q].write(a.k, a.scores + (block + q) * a.k, a.indices + (block + q) * a.k);
  }
  return {false, 0, 0};
}

template <class T>
void pack(const PackArgs<T>& a) {
  auto* panel = reinterpret_cast<float*>(scratch<TopkTag>(kPanelKeys * a.dim * sizeof(float)));
  for (std::size_t first = 0; first < a.count; first += kPanelKeys) {
    const std::size_t rows = std::min(kPanelKeys, a.count - first);
    T* out = a.panels + first * a.dim;
    for (std::size_t d = 0; d < a.dim; ++d)
      for (std::size_t r = 0; r < kPanelKeys; ++r)
        out[d * kPanelKeys + r] = r < rows ? a.keys[(first + r) * a.dim + d] : T{};
    if (a.multipliers == nullptr) continue;
    float* multipliers = a.multipliers + first;
    if (a.cosine) {
      widen_panels(out, kPanelKeys * a.dim, panel);
      inverse_lengths(panel, a.dim, multipliers);
    }
    for (std::size_t r = 0; r < kPanelKeys; ++r) {
      const float scale = a.scales == nullptr ? 1.0f : r < rows ? a.scales[first + r] : 0.0f;
      multipliers[r] = a.cosine ? multipliers[r] * static_cast<float>((scale > 0) - (scale < 0)) : scale;
    }
  }
}

}  // namespace

const TopkKernels topk_similarity{
    {&search<float>, &pack<float>}, {&search<Half>, &pack<Half>}, {&search<std::int8_t>, &pack<std::int8_t>}};

}  // namespace tailrace::kernels::TAILRACE_ISA

#include "cpu/end_target.hpp"
