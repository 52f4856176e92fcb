#include "tailrace/pool/range.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <limits>
#include <new>
#include <utility>

namespace tailrace::pool {

namespace {

constexpr std::size_t kOpenSlices = 1024;  // 64 MiB are made accessible at a time
constexpr std::size_t kWeightOfClean = std::size_t{1} << 32;  // any slice more that becomes resident outweighs any gap
constexpr std::size_t kWordsAfterFirst = 2048;  // of a long bitmap, looked at for a better gap than one found
constexpr std::size_t kAllowedGaps = std::size_t{16} << 20;  // retained without anything going back on growth
constexpr std::size_t kShortGap = 8;  // slices: a shorter gap is not worth a system call on the way of an allocation
constexpr std::size_t kMarksOfSlice = kSliceBytes / LiveMarks::kGranule;
constexpr int kPopulateWrite = 23;  // MADV_POPULATE_WRITE of linux/mman.h, since 5.14

constexpr std::size_t up(std::size_t n, std::size_t grain) noexcept { return (n + grain - 1) / grain * grain; }

std::byte* map(std::size_t bytes, int protection) {
  void* memory = mmap(nullptr, bytes, protection, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) throw std::bad_alloc{};
  return static_cast<std::byte*>(memory);
}

// Whether the system takes account of what could be written, rather than of what is: then memory is opened as it is used.
bool counts_what_is_open() noexcept {
  static const bool counts = [] {
    char mode = '2';
    if (const int file = ::open("/proc/sys/vm/overcommit_memory", O_RDONLY | O_CLOEXEC); file >= 0) {
      if (::read(file, &mode, 1) != 1) mode = '2';
      ::close(file);
    }
    return mode == '2';
  }();
  return counts;
}

// Reserved memory that begins at a multiple of a unit.
std::byte* reserve(std::size_t bytes) {
  std::byte* memory = map(bytes + kUnitBytes, counts_what_is_open() ? PROT_NONE : PROT_READ | PROT_WRITE);
  const auto address = reinterpret_cast<std::uintptr_t>(memory);
  const std::size_t before = up(address, kUnitBytes) - address;
  if (before != 0) munmap(memory, before);
  if (before != kUnitBytes) munmap(memory + before + bytes, kUnitBytes - before);
  return memory + before;
}

// Writes to each page, without changing what is there.
void touch(std::byte* memory, std::size_t bytes) noexcept {
  if (madvise(memory, bytes, kPopulateWrite) == 0) return;
  for (std::size_t i = 0; i < bytes; i += 4096) {
    auto* at = reinterpret_cast<volatile char*>(memory + i);
    *at = *at;
  }
}

}  // namespace

Range::Range(std::size_t limit_bytes, bool huge_pages)
    : grain_{huge_pages ? kUnitSlices : 1}, bytes_{up(limit_bytes, kUnitBytes) * 2}, budget_{limit_bytes} {
  const std::size_t slices = bytes_ / kSliceBytes;
  const std::size_t words = up(slices, 64) / 64;
  const std::size_t live_bytes = bytes_ / LiveMarks::kGranule;
  const std::size_t slab_bytes = slices * sizeof(Slab);
  const std::size_t head_bytes = up(slices * sizeof(std::uint32_t), 64);
  const std::size_t word_bytes = up(words * sizeof(Word), 64);
  const std::size_t age_bytes = up(slices / kUnitSlices * sizeof(std::int64_t), 64);
  const std::size_t open_bytes = up(slices, kOpenSlices) / kOpenSlices;
  const std::size_t class_bytes = up(slices, 64);
  books_bytes_ = live_bytes + slab_bytes + head_bytes + class_bytes + 2 * word_bytes + age_bytes + open_bytes;
  books_ = map(books_bytes_, PROT_READ | PROT_WRITE);
  try {
    base_ = reserve(bytes_);
  } catch (...) {
    munmap(books_, books_bytes_);
    throw;
  }
  madvise(base_, bytes_, huge_pages ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
  // The kernel's zeros are what each of these begins as.
  std::byte* at = books_;
  const auto cut = [&at](std::size_t bytes) { return std::exchange(at, at + bytes); };
  granules_ = live_bytes;
  marks_ = reinterpret_cast<LiveMarks::Mark*>(cut(live_bytes));
  live_ = LiveMarks{marks_, base_};
  slabs_ = reinterpret_cast<Slab*>(cut(slab_bytes));
  heads_ = reinterpret_cast<std::uint32_t*>(cut(head_bytes));
  classes_ = reinterpret_cast<std::uint8_t*>(cut(class_bytes));
  taken_.attach(reinterpret_cast<Word*>(cut(word_bytes)), slices);
  dirty_words_ = reinterpret_cast<Word*>(cut(word_bytes));
  freed_ns_ = reinterpret_cast<base::atomic<std::int64_t>*>(cut(age_bytes));
  open_ = reinterpret_cast<base::atomic<bool>*>(cut(open_bytes));
}

Range::~Range() {
  munmap(base_, bytes_);
  munmap(books_, books_bytes_);
}

// The best place for `n` slices. Among gaps that are dirty all through, the shortest, so that long ones stay long; if there is
// none, where the fewest slices become resident. kNone: none seen, which is no verdict.
std::size_t Range::best_gap(std::size_t n, std::size_t align) const noexcept {
  Gap best_dirty, best;
  const auto see = [&](Gap& kept, std::size_t first, std::size_t end, std::size_t cost) {
    if (first + n <= end && cost < kept.cost) kept = {first, cost};
  };
  std::size_t begin = 0, dirty_begin = 0, since_found = 0;
  bool was_free = false, was_dirty = false;
  const auto end_dirty = [&](std::size_t at) {
    if (was_dirty) see(best_dirty, up(dirty_begin, align), at, at - dirty_begin);
    was_dirty = false;
  };
  const auto end_gap = [&](std::size_t at) {
    end_dirty(at);
    if (was_free && at - begin >= n) {
      const std::size_t low = up(begin, align), high = (at - n) / align * align;
      see(best, low, at, clean_slices(low, n) * kWeightOfClean + (at - begin));
      if (high > low) see(best, high, at, clean_slices(high, n) * kWeightOfClean + (at - begin));
    }
    was_free = false;
  };
  for (std::size_t w = 0; w < taken_.words() && since_found < kWordsAfterFirst; ++w) {
    const std::uint64_t taken = taken_.word(w), dirty = dirty_words_[w].load(base::relaxed);
    // Bits at which something begins or ends; a word that goes on as the last one ended has none.
    const std::uint64_t free_before = ~taken << 1 | (was_free ? 1u : 0u);
    const std::uint64_t dirty_before = (~taken & dirty) << 1 | (was_dirty ? 1u : 0u);
    for (std::uint64_t edges = (~taken ^ free_before) | ((~taken & dirty) ^ dirty_before); edges != 0;
         edges &= edges - 1) {
      const auto bit = static_cast<std::size_t>(std::countr_zero(edges));
      const std::size_t at = w * 64 + bit;
      const bool is_free = (taken >> bit & 1) == 0, is_dirty = is_free && (dirty >> bit & 1) != 0;
      if (was_free && !is_free) end_gap(at);
      if (was_dirty && !is_dirty) end_dirty(at);
      if (!was_free && is_free) begin = at;
      if (!was_dirty && is_dirty) dirty_begin = at;
      was_free = is_free;
      was_dirty = is_dirty;
    }
    if (best_dirty.first != kNone) ++since_found;
    if (best_dirty.cost == n) break;
  }
  end_gap(taken_.slices());
  return best_dirty.first != kNone ? best_dirty.first : best.first;
}

// What becomes resident when [first, first + n) is touched: `visit` sees each word with those bits. A unit of which nothing is
// resident comes as one huge page; of another, what was given back comes in small pages.
template <class Visit>
std::size_t Range::sum_clean(std::size_t first, std::size_t n, Visit&& visit) const noexcept {
  std::size_t sum = 0;
  for (std::size_t at = first / grain_ * grain_; at < first + n;) {
    const std::size_t from = std::max(at, first), to = std::min(at + grain_, first + n);
    Word& word = dirty_words_[at / 64];
    const std::uint64_t whole = SliceBitmap<>::mask(at % 64, grain_), part = SliceBitmap<>::mask(from % 64, to - from);
    sum += static_cast<std::size_t>(visit(word, (word.load(base::relaxed) & whole) == 0 ? whole : part));
    at += grain_;
  }
  return sum;
}

std::size_t Range::clean_slices(std::size_t first, std::size_t n) const noexcept {
  // relaxed (all of dirty_words_): bits that are counted; the claim orders the memory itself.
  return sum_clean(first, n,
                   [](Word& word, std::uint64_t bits) { return std::popcount(bits & ~word.load(base::relaxed)); });
}

std::size_t Range::take(std::size_t n) noexcept {
  const std::size_t align = begins_at_unit(n) ? kUnitSlices : 1;
  std::size_t first = best_gap(n, align);
  // Somebody was quicker, or there is no gap: the bitmap's own search decides.
  if (first == kNone || !taken_.claim_at(first, n)) first = taken_.claim(n, align);
  if (first == kNone) return kNone;
  if (!open(first, n) || !dirty(first, n)) {
    taken_.give(first, n);
    return kNone;
  }
  const std::size_t taken = taken_bytes_.fetch_add(n * kSliceBytes, base::relaxed) + n * kSliceBytes;
  // A note of some recent peak: two that write at once may lose the higher one, which comes again.
  if (taken > recent_peak_bytes_.load(base::relaxed)) recent_peak_bytes_.store(taken, base::relaxed);
  return first;
}

void Range::give(std::size_t first, std::size_t n, std::int64_t freed_ns) noexcept {
  for (std::size_t unit = first / kUnitSlices; unit <= (first + n - 1) / kUnitSlices; ++unit) {
    if (freed_ns_[unit].load(base::relaxed) < freed_ns) freed_ns_[unit].store(freed_ns, base::relaxed);
  }
  taken_bytes_.fetch_sub(n * kSliceBytes, base::relaxed);
  taken_.give(first, n);
}

Slab& Range::describe(std::size_t first, std::size_t n, std::size_t size_class) noexcept {
  // Blocks begin in every slice of a slab, of which the longest has four, but only in the first one of a large block.
  for (std::size_t i = 0; i < std::min<std::size_t>(n, 4); ++i) {
    heads_[first + i] = static_cast<std::uint32_t>(first);
    classes_[first + i] = static_cast<std::uint8_t>(size_class);
  }
  Slab& slab = *new (&slabs_[first]) Slab{};
  slab.size_class = static_cast<std::uint32_t>(size_class);
  slab.slices = static_cast<std::uint32_t>(n);
  slab.memory = at(first);
  return slab;
}

bool Range::open(std::size_t first, std::size_t n) noexcept {
  if (!counts_what_is_open()) return true;
  for (std::size_t part = first / kOpenSlices; part <= (first + n - 1) / kOpenSlices; ++part) {
    // relaxed: who sees it set makes a system call less; the pages' protection is the kernel's to order.
    if (open_[part].load(base::relaxed)) continue;
    const std::size_t begin = part * kOpenSlices * kSliceBytes;
    const std::size_t bytes = std::min(kOpenSlices * kSliceBytes, bytes_ - begin);
    if (mprotect(base_ + begin, bytes, PROT_READ | PROT_WRITE) != 0) return false;
    open_[part].store(true, base::relaxed);
  }
  return true;
}

// Charges and marks what becomes resident with these slices.
bool Range::dirty(std::size_t first, std::size_t n) noexcept {
  std::size_t left = clean_slices(first, n) * kSliceBytes;
  if (left == 0) return true;
  make_way(left);
  if (!charge(left)) return false;
  bool all = true;
  sum_clean(first, n, [&](Word& word, std::uint64_t bits) {
    std::uint64_t seen = word.load(base::relaxed);
    while (all) {
      const std::size_t more = static_cast<std::size_t>(std::popcount(bits & ~seen)) * kSliceBytes;
      if (more > left) {
        // A purge came between. Charged before it is marked, or the limit would be passed for a moment.
        all = charge(more - left);
        left = all ? more : left;
      } else if (word.compare_exchange_weak(seen, seen | bits, base::relaxed, base::relaxed)) {
        left -= more;
        break;
      }
    }
    return 0;
  });
  credit(left);  // a neighbour in the unit was quicker
  return all;
}

bool Range::charge(std::size_t bytes) noexcept {
  if (!budget_.charge(bytes)) return false;
  dirty_bytes_.fetch_add(bytes, base::relaxed);
  return true;
}

void Range::credit(std::size_t bytes) noexcept {
  dirty_bytes_.fetch_sub(bytes, base::relaxed);
  budget_.credit(bytes);
}

// `bytes` more become resident though more is resident than was taken of late: it lies in gaps that are too short. As much of
// it goes back: whole units, which come again as one huge page; parts of units, which cost the huge page, only when a tenth
// lies in gaps.
void Range::make_way(std::size_t bytes) noexcept {
  const std::size_t committed = committed_bytes(), taken = recent_peak_bytes(), allowed = allowed_gaps();
  if (committed <= taken + allowed) return;
  const std::size_t floor = reserved_floor_bytes_.load(base::relaxed);
  const std::size_t keep = std::max(committed - std::min(committed, bytes), taken + allowed);
  purge({.units_before_ns = kAnyAge, .keep_bytes = std::max(keep, floor)});
  const std::size_t mostly = std::max(taken + taken / 24 + allowed, floor);
  purge({.gaps_before_ns = kAnyAge, .least_gap = kShortGap, .keep_bytes = mostly});
}

void Range::let_peak_fall(double part) noexcept {
  const std::size_t peak = recent_peak_bytes_.load(base::relaxed);
  const auto fallen = peak - static_cast<std::size_t>(static_cast<double>(peak) * std::min(1.0, part));
  recent_peak_bytes_.store(std::max(fallen, taken_bytes()), base::relaxed);
}

std::size_t Range::allowed_gaps() const noexcept { return std::max(kAllowedGaps, taken_bytes() / 16); }

std::size_t Range::clean(std::size_t first, std::size_t n) noexcept {
  std::size_t cleaned = 0;
  for (std::size_t at = first; at < first + n;) {
    const std::size_t part = std::min(64 - at % 64, first + n - at);
    const std::uint64_t mask = SliceBitmap<>::mask(at % 64, part);
    cleaned += static_cast<std::size_t>(std::popcount(mask & dirty_words_[at / 64].fetch_and(~mask, base::relaxed)));
    at += part;
  }
  cleaned *= kSliceBytes;
  credit(cleaned);
  return cleaned;
}

std::size_t Range::purge_run(std::size_t first, std::size_t n) noexcept {
  if (!taken_.borrow_at(first, n)) return 0;
  // Memory that is locked does not go.
  const bool gone = madvise(at(first), n * kSliceBytes, MADV_DONTNEED) == 0;
  const std::size_t cleaned = gone ? clean(first, n) : 0;
  // The marks of what is free are zeros, as new pages are: a page for each slice.
  if (gone) madvise(&marks_[first * kMarksOfSlice], n * kMarksOfSlice, MADV_DONTNEED);
  taken_.return_loan(first, n);
  if (!gone) return 0;
  purges_.fetch_add(1, base::relaxed);
  purged_bytes_.fetch_add(cleaned, base::relaxed);
  return cleaned;
}

std::size_t Range::purge(const PurgeTerms& terms) noexcept {
  std::size_t purged = 0;
  for (std::size_t unit = 0; unit < bytes_ / kUnitBytes && committed_bytes() > terms.keep_bytes; ++unit) {
    const std::size_t first = unit * kUnitSlices;
    const std::uint64_t bits = SliceBitmap<>::mask(first % 64, kUnitSlices);
    const std::uint64_t free = dirty_words_[first / 64].load(base::relaxed) & ~taken_.word(first / 64) & bits;
    if (free == 0) continue;
    const std::int64_t freed = freed_ns_[unit].load(base::relaxed);
    if ((taken_.word(first / 64) & bits) == 0) {
      if (freed <= terms.units_before_ns) purged += purge_run(first, kUnitSlices);
    } else if (freed <= terms.gaps_before_ns) {
      for (std::uint64_t left = free; left != 0;) {
        const auto from = static_cast<std::size_t>(std::countr_zero(left));
        const auto n = static_cast<std::size_t>(std::countr_one(left >> from));
        if (n >= terms.least_gap) purged += purge_run(first / 64 * 64 + from, n);
        left &= ~SliceBitmap<>::mask(from, n);
      }
    }
  }
  return purged;
}

std::size_t Range::commit(std::size_t bytes, std::int64_t now_ns, bool prefault) noexcept {
  std::size_t floor = reserved_floor_bytes_.load(base::relaxed);
  while (floor < bytes && !reserved_floor_bytes_.compare_exchange_weak(floor, bytes, base::relaxed, base::relaxed)) {
  }
  for (std::size_t unit = 0; unit < bytes_ / kUnitBytes && committed_bytes() < bytes; ++unit) {
    const std::size_t first = unit * kUnitSlices;
    if (!taken_.borrow_at(first, kUnitSlices)) continue;
    freed_ns_[unit].store(now_ns, base::relaxed);
    if (open(first, kUnitSlices) && dirty(first, kUnitSlices) && prefault) touch(at(first), kUnitBytes);
    taken_.return_loan(first, kUnitSlices);
  }
  return committed_bytes();
}

Range::Gaps Range::gaps() const noexcept {
  std::size_t largest = 0, total = 0, gap = 0;
  for (std::size_t slice = 0; slice < taken_.slices();) {
    const std::uint64_t word = taken_.word(slice / 64);
    if (slice % 64 == 0 && (word == 0 || word == ~std::uint64_t{0}) && slice + 64 <= taken_.slices()) {
      gap = word == 0 ? gap + 64 : 0;
      total += word == 0 ? 64 : 0;
      slice += 64;
    } else {
      const bool free = !taken_.taken(slice++);
      gap = free ? gap + 1 : 0;
      total += free ? 1 : 0;
    }
    largest = std::max(largest, gap);
  }
  const std::size_t left = budget_.limit_bytes() - std::min(budget_.limit_bytes(), taken_bytes());
  return {.largest_bytes = std::min(largest * kSliceBytes, left), .total_bytes = std::min(total * kSliceBytes, left)};
}

}  // namespace tailrace::pool
