// distinct.hpp -- the first of each set of equal rows, in order.
//
// What      `distinct_rows(blocks, count, rows, kept)`: rows that lie side by side in several tables; returns how many were kept.
// Why       Sorting costs n log n comparisons of whole rows; one hash per row and a table of indices touches each row once, and a
//           second time only where hashes agree.
// Threads   Pure; may throw std::bad_alloc.
// Source    Open addressing with linear probes: Knuth, The Art of Computer Programming 3, section 6.4, algorithm L.
// Checked   tests/cpp/kernels/test_features_prep.cpp, with a hash that always collides; tests/kernels/test_features_prep.py.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <memory>

namespace tailrace::kernels {

enum class Cell { f32, f64, i64 };

struct RowBlock {
  const void* data;  // [rows, columns]
  std::size_t columns;
  Cell cell;
};

// Equal cells have equal bits: 0 and -0 are one value, and a missing value equals a missing value.
inline std::uint64_t cell_bits(float x) { return x == 0 ? 0 : x != x ? 0x7FC00000u : std::bit_cast<std::uint32_t>(x); }
inline std::uint64_t cell_bits(double x) {
  return x == 0 ? 0 : x != x ? 0x7FF8000000000000u : std::bit_cast<std::uint64_t>(x);
}
inline std::uint64_t cell_bits(std::int64_t x) { return static_cast<std::uint64_t>(x); }

// Four chains, so that one multiplication need not wait for the one before.
template <class T>
std::uint64_t hash_cells(const T* row, std::size_t columns, std::uint64_t seed) {
  constexpr std::uint64_t kOdd = 0x9E3779B97F4A7C15u;
  std::uint64_t chain[4] = {seed, seed + 1, seed + 2, seed + 3};
  for (std::size_t c = 0; c < columns; ++c) {
    std::uint64_t& h = chain[c % 4];
    h = std::rotl(h ^ cell_bits(row[c]), 29) * kOdd;
  }
  std::uint64_t h = chain[0];
  for (int i = 1; i < 4; ++i) h = std::rotl(h, 23) * kOdd ^ chain[i];
  h = (h ^ (h >> 32)) * kOdd;
  return h ^ (h >> 29);
}

template <class T>
bool same_cells(const T* a, const T* b, std::size_t columns) {
  for (std::size_t c = 0; c < columns; ++c)
    if (cell_bits(a[c]) != cell_bits(b[c])) return false;
  return true;
}

struct HashRow {
  template <class T>
  std::uint64_t operator()(const T* row, std::size_t columns, std::uint64_t seed) const {
    return hash_cells(row, columns, seed);
  }
};

// Calls `visit(row of the block, columns)` with the type of its cells.
template <class Visit>
auto with_cells(const RowBlock& block, std::size_t row, Visit visit) {
  const std::size_t at = row * block.columns;
  if (block.cell == Cell::f32) return visit(static_cast<const float*>(block.data) + at);
  if (block.cell == Cell::f64) return visit(static_cast<const double*>(block.data) + at);
  return visit(static_cast<const std::int64_t*>(block.data) + at);
}

inline bool same_rows(const RowBlock* blocks, std::size_t count, std::size_t a, std::size_t b) {
  for (std::size_t i = 0; i < count; ++i) {
    const RowBlock& block = blocks[i];
    const std::size_t back = (a - b) * block.columns;  // a > b
    if (!with_cells(block, a, [&](const auto* row) { return same_cells(row, row - back, block.columns); }))
      return false;
  }
  return true;
}

struct DistinctSlot {
  std::uint32_t tag;  // the upper half of the hash
  std::uint32_t row;  // one more than its index; 0: free
};

inline constexpr std::size_t kMostDistinctRows = 0xFFFFFFFE;

// `kept` has room for all rows; rows <= kMostDistinctRows.
template <class Hash = HashRow>
std::size_t distinct_rows(const RowBlock* blocks, std::size_t count, std::size_t rows, std::int64_t* kept,
                          Hash hash = {}) {
  const std::size_t slots = std::bit_ceil(2 * rows + 1);
  const auto table = std::make_unique<DistinctSlot[]>(slots);  // all free; too large to keep for a next call
  std::size_t found = 0;
  for (std::size_t r = 0; r < rows; ++r) {
    std::uint64_t h = 0;
    for (std::size_t i = 0; i < count; ++i)
      h = with_cells(blocks[i], r, [&](const auto* row) { return hash(row, blocks[i].columns, h); });
    const auto tag = static_cast<std::uint32_t>(h >> 32);
    std::size_t at = h & (slots - 1);
    while (table[at].row != 0 && !(table[at].tag == tag && same_rows(blocks, count, r, table[at].row - 1)))
      at = (at + 1) & (slots - 1);
    if (table[at].row != 0) continue;
    table[at] = {tag, static_cast<std::uint32_t>(r + 1)};
    kept[found++] = static_cast<std::int64_t>(r);
  }
  return found;
}

}  // namespace tailrace::kernels
