// segments.hpp -- rows sorted by the adapter that they name.
//
// What      `sort_rows(adapters, rows, count, order, offsets)`: a counting sort; false and the row that names no adapter.
// Why       The kernel takes the rows of one adapter together, in their order.
// Threads   Pure.
// Checked   tests/cpp/kernels/test_lora_bgmv.cpp.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>

namespace tailrace::kernels {

// `adapters` is [rows], each -1 (none) to count - 1; `order` is [rows], `offsets` [count + 2]. Returns a row that is wrong.
inline std::optional<std::size_t> sort_rows(const std::int32_t* adapters, std::size_t rows, std::size_t count,
                                            std::uint32_t* order, std::uint32_t* offsets) {
  std::fill_n(offsets, count + 2, 0u);
  for (std::size_t r = 0; r < rows; ++r) {
    const std::int64_t segment = std::int64_t{adapters[r]} + 1;
    if (segment < 0 || segment > static_cast<std::int64_t>(count)) return r;
    ++offsets[segment];
  }
  std::uint32_t sum = 0;
  for (std::size_t s = 0; s < count + 2; ++s) {
    sum += offsets[s];
    offsets[s] = sum;  // the end of segment s
  }
  for (std::size_t r = rows; r-- > 0;) order[--offsets[adapters[r] + 1]] = static_cast<std::uint32_t>(r);
  return std::nullopt;  // each end has become a beginning
}

}  // namespace tailrace::kernels
