// size_class.hpp -- how large the block is that an allocation gets.
//
// What      Classes every 16 bytes up to 128, then four for each doubling, eight from 1 MiB on: up to 64 KiB cut from slabs,
//           beyond that runs of whole slices. Above 64 MiB a run has just the slices that it needs.
// Why       At most a fifth is lost to rounding, and a class is found by a table or three instructions.
// Threads   Pure functions.
// Checked   tests/cpp/pool/test_size_class.cpp, for every size up to 128 MiB that could be told apart.
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>

namespace tailrace::pool {

inline constexpr std::size_t kSliceShift = 16;
inline constexpr std::size_t kSliceBytes = std::size_t{1} << kSliceShift;
inline constexpr std::size_t kUnitSlices = 32;  // a huge page, and the grain of what is committed and given back
inline constexpr std::size_t kUnitBytes = kUnitSlices * kSliceBytes;

inline constexpr std::size_t kSlabClasses = 44;  // 16 B ... 64 KiB
inline constexpr std::size_t kRunClasses = 59;  // 2 ... 1024 slices
inline constexpr std::size_t kHugeClass = kSlabClasses + kRunClasses;
inline constexpr std::size_t kClasses = kHugeClass + 1;
inline constexpr std::size_t kMaxSlabBlock = kSliceBytes;
inline constexpr std::size_t kMaxRunSlices = 1024;
inline constexpr std::size_t kTableBytes = 1024;

constexpr std::size_t slices_for(std::size_t bytes) noexcept { return (bytes + kSliceBytes - 1) >> kSliceShift; }

namespace detail {

// `steps` classes (4 or 8) for each doubling of `first`, numbered from 0: the one that holds `n` > first. Powers of two all.
constexpr std::size_t step_of(std::size_t n, std::size_t first, std::size_t steps) noexcept {
  const auto log = static_cast<std::size_t>(std::bit_width(n - 1) - 1);
  const auto log_first = static_cast<std::size_t>(std::bit_width(first) - 1);
  const auto log_steps = static_cast<std::size_t>(std::bit_width(steps) - 1);
  return (log - log_first) * steps + (((n - 1) >> (log - log_steps)) & (steps - 1));
}

constexpr std::size_t size_of(std::size_t step, std::size_t first, std::size_t steps) noexcept {
  return ((steps + 1 + step % steps) << (step / steps)) * (first / steps);
}

constexpr std::size_t slab_class(std::size_t bytes) noexcept {
  return bytes <= 128 ? (bytes + 15) / 16 - (bytes != 0 ? 1 : 0) : 8 + step_of(bytes, 128, 4);
}

inline constexpr auto kSmallTable = [] {
  std::array<std::uint8_t, kTableBytes / 16 + 1> table{};
  for (std::size_t i = 0; i < table.size(); ++i) table[i] = static_cast<std::uint8_t>(slab_class(i * 16));
  return table;
}();

}  // namespace detail

constexpr std::size_t class_of(std::size_t bytes) noexcept {
  if (bytes <= kTableBytes) return detail::kSmallTable[(bytes + 15) / 16];
  if (bytes <= kMaxSlabBlock) return detail::slab_class(bytes);
  const std::size_t slices = slices_for(bytes);
  if (slices > kMaxRunSlices) return kHugeClass;
  if (slices <= 4) return kSlabClasses + slices - 2;
  return kSlabClasses + (slices <= 16 ? 3 + detail::step_of(slices, 4, 4) : 11 + detail::step_of(slices, 16, 8));
}

// Slices of a run of this class.
constexpr std::size_t run_slices(std::size_t size_class) noexcept {
  const std::size_t run = size_class - kSlabClasses;
  if (run < 3) return run + 2;
  return run < 11 ? detail::size_of(run - 3, 4, 4) : detail::size_of(run - 11, 16, 8);
}

// What a block of this class holds; of the huge class, which has no size of its own, 0.
constexpr std::size_t class_bytes(std::size_t size_class) noexcept {
  if (size_class < 8) return (size_class + 1) * 16;
  if (size_class < kSlabClasses) return detail::size_of(size_class - 8, 128, 4);
  return size_class == kHugeClass ? 0 : run_slices(size_class) * kSliceBytes;
}

// Slices of a slab of this class: long enough that little is left over at its end.
constexpr std::size_t slab_slices(std::size_t size_class) noexcept {
  return class_bytes(size_class) <= kSliceBytes / 8 ? 1 : 4;
}

// The class of the smallest block that holds `bytes` and begins at a multiple of `alignment`, a power of two from 16 on. A
// class that holds a multiple of the alignment is one: from four times the alignment on the classes are that far apart, and
// one, two and three times are classes. A slice begins at a multiple of its size, a run of whole units at one of a unit.
// Reckoned by the place of the last byte, which no size is too large for.
constexpr std::size_t class_of(std::size_t bytes, std::size_t alignment) noexcept {
  if (__builtin_expect(alignment > kSliceBytes, 0)) alignment = kUnitBytes;
  const std::size_t last = (bytes - (bytes != 0 ? 1 : 0)) | (alignment - 1);
  if (last < kTableBytes) return detail::kSmallTable[last / 16 + 1];
  return last < kMaxRunSlices * kSliceBytes ? class_of(last + 1) : kHugeClass;
}

// A run of so many slices begins at a multiple of a unit.
constexpr bool begins_at_unit(std::size_t slices) noexcept {
  return slices % kUnitSlices == 0 || slices >= 4 * kUnitSlices;
}

}  // namespace tailrace::pool
