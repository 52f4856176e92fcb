#include "tailrace/pool/statistics.hpp"

#include <algorithm>
#include <array>

#include "tailrace/pool/core.hpp"

namespace tailrace::pool {

template <class See>
void Core::see_caches(See&& see) const noexcept {
  // [PE2] acquire: the entry's fields; pairs with [PE1].
  for (const Entry* entry = entries_.load(base::acquire); entry != nullptr; entry = entry->next) see(entry->cache);
  see(stray_);
}

std::uint64_t Core::operations() const noexcept {
  std::uint64_t sum = 0;
  see_caches([&](const ThreadCache& cache) { sum += cache.operations(); });
  if (hardened_ != nullptr) sum += hardened_->runs.frees();
  return sum;
}

// Summed while others allocate, frees may be seen whose allocations were not: never below zero.
std::size_t Core::used_bytes() const noexcept {
  std::int64_t sum = 0;
  const auto add = [&](std::uint64_t more, std::uint64_t less) { sum += static_cast<std::int64_t>(more - less); };
  see_caches([&](const ThreadCache& cache) {
    for (std::size_t i = 0; i < kHugeClass; ++i) {
      add(cache.allocs(i) * class_bytes(i), cache.frees(i) * class_bytes(i));
    }
    add(cache.huge_alloc_bytes.read(), cache.huge_free_bytes.read());
  });
  if (hardened_ != nullptr) add(0, hardened_->runs.bytes());
  const auto used = static_cast<std::size_t>(std::max<std::int64_t>(sum, 0));
  std::size_t peak = peak_used_bytes_.load(base::relaxed);
  while (peak < used && !peak_used_bytes_.compare_exchange_weak(peak, used, base::relaxed, base::relaxed)) {
  }
  return used;
}

PoolStatistics Core::statistics() const {
  PoolStatistics all;
  std::array<ClassStatistics, kClasses> classes{};
  std::uint64_t misses = 0;
  see_caches([&](const ThreadCache& cache) {
    ++all.n_caches;
    for (std::size_t i = 0; i < kClasses; ++i) {
      classes[i].n_alloc += cache.allocs(i);
      classes[i].n_free += cache.frees(i);
    }
    all.n_remote_free += cache.remote.read();
    misses += cache.misses.read();
    all.quarantined_bytes += cache.quarantined_bytes();
  });
  if (hardened_ != nullptr) {
    classes[kHugeClass].n_free += hardened_->runs.blocks();
    all.quarantined_bytes += hardened_->runs.bytes();
  }
  for (std::size_t i = 0; i < kClasses; ++i) {
    classes[i].block_bytes = class_bytes(i);
    all.n_alloc += classes[i].n_alloc;
    all.n_free += classes[i].n_free;
    if (classes[i].n_alloc != 0) all.classes.push_back(classes[i]);
  }
  all.used_bytes = used_bytes();
  all.limit_bytes = options_.limit_bytes;
  all.reserved_bytes = range_.bytes();
  all.committed_bytes = range_.committed_bytes();
  all.peak_committed_bytes = range_.budget().peak_bytes();
  all.peak_used_bytes = peak_used_bytes_.load(base::relaxed);
  const std::size_t taken = range_.taken_bytes();
  all.cached_bytes = taken - std::min(taken, all.used_bytes);
  all.retained_bytes = all.committed_bytes - std::min(all.committed_bytes, taken);
  const Range::Gaps gaps = range_.gaps();
  all.largest_free_bytes = gaps.largest_bytes;
  if (gaps.total_bytes != 0) {
    all.frag_ratio = 1 - static_cast<double>(gaps.largest_bytes) / static_cast<double>(gaps.total_bytes);
  }
  all.n_miss = misses;
  if (all.n_alloc != 0) {
    all.hit_ratio = 1 - std::min(1.0, static_cast<double>(misses) / static_cast<double>(all.n_alloc));
  }
  all.n_purge = range_.purges();
  all.purged_bytes = range_.purged_bytes();
  all.n_shortage = shortages_.load(base::relaxed);
  all.n_exhausted = exhaustions_.load(base::relaxed);
  return all;
}

}  // namespace tailrace::pool
