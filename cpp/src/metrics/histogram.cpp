#include "tailrace/metrics/histogram.hpp"

#include <cmath>

namespace tailrace::metrics {

std::uint64_t Histogram::percentile(double quantile) const noexcept {
  const std::uint64_t total = count();
  if (total == 0) return 0;
  const auto wanted = static_cast<std::uint64_t>(std::ceil(quantile * static_cast<double>(total)));
  std::uint64_t seen = 0;
  for (int i = 0; i < kBuckets; ++i) {
    seen += buckets_[static_cast<std::size_t>(i)].load(base::relaxed);
    if (seen >= wanted && seen > 0) return middle_of(i) < max() ? middle_of(i) : max();
  }
  return max();
}

void Histogram::merge(const Histogram& other) noexcept {
  for (std::size_t i = 0; i < buckets_.size(); ++i) {
    const std::uint32_t more = other.buckets_[i].load(base::relaxed);
    buckets_[i].store(buckets_[i].load(base::relaxed) + more, base::relaxed);
  }
  if (other.max() > max()) max_.store(other.max(), base::relaxed);
}

}  // namespace tailrace::metrics
