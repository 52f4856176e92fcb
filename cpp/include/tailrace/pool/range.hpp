// range.hpp -- the address space of one pool: which slices are taken, which may be resident, since when one is free.
//
// What      `take` a run of slices within the budget, `give` it back; `purge` gives free slices back to the system.
// Why       Reserved once, so a limit is never missed because two pieces do not touch; committed when used, so a pool costs
//           what it uses; book-keeping in a mapping of its own.
// How       A slice that may be resident is *dirty* and charged to the budget, whether taken or free. With huge pages one
//           touch makes a whole unit of 2 MiB resident, so the unit is charged. A taker prefers the shortest gap that is dirty all through. Who purges
//           claims the run first, so nobody gets a page that is about to vanish.
// Threads   All members: any thread.
// Checked   tests/cpp/pool/test_memory_pool.cpp, tests/cpp/pool/test_decay.cpp, tests/stress/pool.cpp.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>

#include "tailrace/base/atomic.hpp"
#include "tailrace/pool/budget.hpp"
#include "tailrace/pool/size_class.hpp"
#include "tailrace/pool/slab.hpp"
#include "tailrace/pool/slice_bitmap.hpp"

namespace tailrace::pool {

inline constexpr std::int64_t kAnyAge = std::numeric_limits<std::int64_t>::max();
inline constexpr std::int64_t kNoAge = std::numeric_limits<std::int64_t>::min();

// What of a range's free memory goes back to the system.
struct PurgeTerms {
  std::int64_t units_before_ns = kNoAge;  // units of which nothing is taken, if unused since before
  std::int64_t gaps_before_ns = kNoAge;  // slices of other units, whose huge page that breaks
  std::size_t least_gap = 1;  // of these, runs of so many slices at least
  std::size_t keep_bytes = 0;  // until so much is committed
};

class Range {
 public:
  // Reserves room for twice `limit_bytes`, a multiple of `kSliceBytes` (of a unit with huge pages). Throws std::bad_alloc.
  Range(std::size_t limit_bytes, bool huge_pages);
  ~Range();
  Range(const Range&) = delete;
  Range& operator=(const Range&) = delete;

  // The first of `n` slices, committed; kNone: no gap, or the budget is used up.
  std::size_t take(std::size_t n) noexcept;
  // `freed_ns`: since when it is unused.
  void give(std::size_t first, std::size_t n, std::int64_t freed_ns) noexcept;

  // Gives free memory back to the system; returns how much.
  std::size_t purge(const PurgeTerms& terms) noexcept;
  // The most that was taken of late; it falls, by a part at a time, to what is taken.
  std::size_t recent_peak_bytes() const noexcept { return recent_peak_bytes_.load(base::relaxed); }
  void let_peak_fall(double part) noexcept;
  // What may lie in gaps without anybody minding.
  std::size_t allowed_gaps() const noexcept;
  // Makes free memory dirty, up to `bytes` committed; with its pages if `prefault`. Returns what is committed.
  std::size_t commit(std::size_t bytes, std::int64_t now_ns, bool prefault) noexcept;

  bool contains(const void* pointer) const noexcept { return offset(pointer) < bytes_; }
  std::size_t offset(const void* pointer) const noexcept {
    return reinterpret_cast<std::uintptr_t>(pointer) - reinterpret_cast<std::uintptr_t>(base_);
  }
  std::byte* at(std::size_t slice) const noexcept { return base_ + slice * kSliceBytes; }
  const LiveMarks& live() const noexcept { return live_; }
  // Whether a live block begins there; false for an offset outside, and for one inside of a granule.
  bool is_live(std::size_t offset) const noexcept {
    const std::size_t granule = std::rotr(offset, LiveMarks::kGranuleShift);
    return granule < granules_ && marks_[granule].load(base::relaxed) != 0;  // relaxed: as in LiveMarks
  }
  bool is_ordinary(std::size_t offset) const noexcept {
    const std::size_t granule = std::rotr(offset, LiveMarks::kGranuleShift);
    return granule < granules_ && marks_[granule].load(base::relaxed) == LiveMarks::kOrdinary;  // relaxed: as above
  }

  // The descriptor and the class of the run that a live block belongs to; set by `describe` before the run is used.
  Slab& slab_of(std::size_t offset) const noexcept { return slabs_[heads_[offset >> kSliceShift]]; }
  std::size_t class_at(std::size_t offset) const noexcept { return classes_[offset >> kSliceShift]; }
  Slab& describe(std::size_t first, std::size_t n, std::size_t size_class) noexcept;

  Budget& budget() noexcept { return budget_; }
  const Budget& budget() const noexcept { return budget_; }
  std::size_t bytes() const noexcept { return bytes_; }
  std::size_t taken_bytes() const noexcept { return taken_bytes_.load(base::relaxed); }
  std::size_t committed_bytes() const noexcept { return dirty_bytes_.load(base::relaxed); }
  std::uint64_t purges() const noexcept { return purges_.load(base::relaxed); }
  std::uint64_t purged_bytes() const noexcept { return purged_bytes_.load(base::relaxed); }
  struct Gaps {
    std::size_t largest_bytes = 0;
    std::size_t total_bytes = 0;
  };
  Gaps gaps() const noexcept;
  // In a forked child: claims that other threads were in the middle of stay as they are.
  void after_fork() noexcept { taken_.forget_claims(); }

 private:
  using Word = base::atomic<std::uint64_t>;

  struct Gap {
    std::size_t first = kNone;
    std::size_t cost = kNone;
  };

  std::size_t best_gap(std::size_t n, std::size_t align) const noexcept;
  template <class Visit>
  std::size_t sum_clean(std::size_t first, std::size_t n, Visit&& visit) const noexcept;
  void make_way(std::size_t bytes) noexcept;
  std::size_t clean_slices(std::size_t first, std::size_t n) const noexcept;
  bool open(std::size_t first, std::size_t n) noexcept;
  bool dirty(std::size_t first, std::size_t n) noexcept;
  bool charge(std::size_t bytes) noexcept;
  void credit(std::size_t bytes) noexcept;
  std::size_t clean(std::size_t first, std::size_t n) noexcept;
  std::size_t purge_run(std::size_t first, std::size_t n) noexcept;

  const std::size_t grain_;  // slices that become resident together
  std::size_t bytes_ = 0;
  std::byte* base_ = nullptr;
  std::size_t granules_ = 0;
  LiveMarks::Mark* marks_ = nullptr;
  std::byte* books_ = nullptr;  // the mapping of all that follows
  std::size_t books_bytes_ = 0;
  LiveMarks live_{nullptr, nullptr};
  Slab* slabs_ = nullptr;
  std::uint32_t* heads_ = nullptr;  // of each slice in which blocks begin: the first slice of its run
  std::uint8_t* classes_ = nullptr;  // of each such slice
  Word* dirty_words_ = nullptr;
  base::atomic<std::int64_t>* freed_ns_ = nullptr;  // of each unit; relaxed, all: an age, not a protocol
  base::atomic<bool>* open_ = nullptr;  // of each 64 MiB: readable and writable
  SliceBitmap<> taken_;
  Budget budget_;
  // relaxed (all): counts for statistics.
  base::atomic<std::size_t> taken_bytes_{0};
  base::atomic<std::size_t> recent_peak_bytes_{0};
  base::atomic<std::size_t> reserved_floor_bytes_{0};  // that growth leaves committed
  base::atomic<std::size_t> dirty_bytes_{0};
  base::atomic<std::uint64_t> purges_{0};
  base::atomic<std::uint64_t> purged_bytes_{0};
};

}  // namespace tailrace::pool
