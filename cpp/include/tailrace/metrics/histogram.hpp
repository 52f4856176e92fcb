// histogram.hpp -- durations in log-linear buckets: any percentile within one per cent.
//
// What      64 linear buckets in each power of two, for values from 0 to 2^40 ns (18 minutes).
// Why       Percentiles without keeping samples: one increment per record, mergeable, fixed memory (9 KiB).
// Threads   record: one owner at a time. percentile: any thread, on a recent state.
// Source    Tene, "HdrHistogram" (the bucket layout).
#pragma once

#include <array>
#include <cstdint>

#include "tailrace/base/atomic.hpp"

namespace tailrace::metrics {

class Histogram {
 public:
  static constexpr int kSubBits = 6;  // 64 buckets an octave: width 1/64, so the middle is within 0.8 %
  static constexpr int kMaxBits = 40;
  static constexpr int kBuckets = (kMaxBits - kSubBits + 1) << kSubBits;

  void record(std::uint64_t value) noexcept {
    auto& bucket = buckets_[static_cast<std::size_t>(index_of(value))];
    // relaxed (all): one writer; a reader sums counts of a recent moment.
    bucket.store(bucket.load(base::relaxed) + 1, base::relaxed);
    if (value > max_.load(base::relaxed)) max_.store(value, base::relaxed);
  }

  std::uint64_t count() const noexcept {
    std::uint64_t total = 0;
    for (const auto& bucket : buckets_) total += bucket.load(base::relaxed);
    return total;
  }

  std::uint64_t max() const noexcept { return max_.load(base::relaxed); }

  // The value below which `quantile` (0..1) of the records lie: the middle of its bucket; 0 when empty.
  std::uint64_t percentile(double quantile) const noexcept;

  void merge(const Histogram& other) noexcept;

  static int index_of(std::uint64_t value) noexcept {
    if (value >= (std::uint64_t{1} << kMaxBits)) value = (std::uint64_t{1} << kMaxBits) - 1;
    const int octave = 63 - __builtin_clzll(value | ((1u << kSubBits) - 1));
    const int shift = octave - kSubBits + (octave >= kSubBits ? 1 : 0);
    if (octave < kSubBits) return static_cast<int>(value);
    return (shift << kSubBits) + static_cast<int>((value >> (shift - 1)) & ((1u << kSubBits) - 1));
  }

  static std::uint64_t middle_of(int index) noexcept {
    if (index < (1 << kSubBits)) return static_cast<std::uint64_t>(index);
    const int shift = (index >> kSubBits) - 1;
    const auto within = static_cast<std::uint64_t>(index & ((1 << kSubBits) - 1));
    const std::uint64_t low = ((std::uint64_t{1} << kSubBits) + within) << shift;
    return low + ((std::uint64_t{1} << shift) >> 1);
  }

 private:
  std::array<base::atomic<std::uint32_t>, kBuckets> buckets_{};
  base::atomic<std::uint64_t> max_{0};
};

}  // namespace tailrace::metrics
