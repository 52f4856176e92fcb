#include "tailrace/pool/range.hpp"

#include <sys/mman.h>

#include <algorithm>
#include <bit>
#include <new>
#include <utility>

namespace tailrace::pool {

namespace {

constexpr std::size_t kOpenSlices = 1024;  // 64 MiB are made accessible at a time
constexpr int kPopulateWrite = 23;         // MADV_POPULATE_WRITE of linux/mman.h, since 5.14

constexpr std::size_t up(std::size_t n, std::size_t grain) noexcept { return (n + grain - 1) / grain * grain; }

std::byte* map(std::size_t bytes, int protection) {
  void* memory = mmap(nullptr, bytes, protection, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) throw std::bad_alloc{};
  return static_cast<std::byte*>(memory);
}

// Reserved memory that begins at a multiple of a unit.
std::byte* reserve(std::size_t bytes) {
  std::byte* memory = map(bytes + kUnitBytes, PROT_NONE);
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

std::size_t Range::take(std::size_t n) noexcept {
  // A unit's rest that nothing fills would be resident with its other part: only whole units begin at one, and long runs.
  const std::size_t align = n % kUnitSlices == 0 || n >= 4 * kUnitSlices ? kUnitSlices : 1;
  const auto not_dirty = [this](std::size_t w) {
    return ~dirty_words_[w].load(base::relaxed);
  };  // relaxed: a preference
  std::size_t first = taken_.claim_among(n, align, not_dirty);
  if (first == kNone) first = taken_.claim(n, align);
  if (first == kNone) return kNone;
  if (!open(first, n) || !dirty(first, n)) {
    taken_.give(first, n);
    return kNone;
  }
  taken_bytes_.fetch_add(n * kSliceBytes, base::relaxed);
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
  const std::size_t begin = first / grain_ * grain_, end = up(first + n, grain_);
  const auto each_word = [&](auto&& visit) {
    std::size_t sum = 0;
    for (std::size_t at = begin; at < end;) {
      const std::size_t part = std::min(64 - at % 64, end - at);
      sum += static_cast<std::size_t>(visit(dirty_words_[at / 64], SliceBitmap<>::mask(at % 64, part)));
      at += part;
    }
    return sum * kSliceBytes;
  };
  // relaxed (all of dirty_words_): bits that are counted; the claim orders the memory itself.
  const std::size_t expected =
      each_word([](Word& word, std::uint64_t mask) { return std::popcount(mask & ~word.load(base::relaxed)); });
  if (expected != 0 && !budget_.charge(expected)) return false;
  if (expected == 0) return true;
  const std::size_t made = each_word(
      [](Word& word, std::uint64_t mask) { return std::popcount(mask & ~word.fetch_or(mask, base::relaxed)); });
  // A neighbour in the unit was quicker, or a purge came between: the charge follows what was marked.
  if (made < expected) budget_.credit(expected - made);
  if (made > expected) budget_.charge_over(made - expected);
  dirty_bytes_.fetch_add(made, base::relaxed);
  return true;
}

std::size_t Range::clean(std::size_t first, std::size_t n) noexcept {
  std::size_t cleaned = 0;
  for (std::size_t at = first; at < first + n;) {
    const std::size_t part = std::min(64 - at % 64, first + n - at);
    const std::uint64_t mask = SliceBitmap<>::mask(at % 64, part);
    cleaned += static_cast<std::size_t>(std::popcount(mask & dirty_words_[at / 64].fetch_and(~mask, base::relaxed)));
    at += part;
  }
  cleaned *= kSliceBytes;
  dirty_bytes_.fetch_sub(cleaned, base::relaxed);
  budget_.credit(cleaned);
  return cleaned;
}

std::size_t Range::purge_run(std::size_t first, std::size_t n) noexcept {
  if (!taken_.borrow_at(first, n)) return 0;
  madvise(at(first), n * kSliceBytes, MADV_DONTNEED);
  const std::size_t cleaned = clean(first, n);
  taken_.return_loan(first, n);
  purges_.fetch_add(1, base::relaxed);
  purged_bytes_.fetch_add(cleaned, base::relaxed);
  return cleaned;
}

std::size_t Range::purge(std::int64_t before_ns, std::int64_t slices_before_ns, std::size_t keep_bytes) noexcept {
  std::size_t purged = 0;
  for (const bool whole : {true, false}) {
    for (std::size_t unit = 0; unit < bytes_ / kUnitBytes && committed_bytes() > keep_bytes; ++unit) {
      const std::size_t first = unit * kUnitSlices;
      const std::uint64_t bits = SliceBitmap<>::mask(first % 64, kUnitSlices);
      const std::uint64_t free = dirty_words_[first / 64].load(base::relaxed) & ~taken_.word(first / 64) & bits;
      if (free == 0) continue;
      const bool is_whole = (taken_.word(first / 64) & bits) == 0;
      const std::int64_t freed = freed_ns_[unit].load(base::relaxed);
      if (whole && is_whole && freed <= before_ns) {
        purged += purge_run(first, kUnitSlices);
      } else if (!whole && freed <= slices_before_ns) {
        for (std::uint64_t left = free; left != 0;) {
          const auto from = static_cast<std::size_t>(std::countr_zero(left));
          const auto n = static_cast<std::size_t>(std::countr_one(left >> from));
          purged += purge_run(first / 64 * 64 + from, n);
          left &= ~SliceBitmap<>::mask(from, n);
        }
      }
    }
  }
  return purged;
}

std::size_t Range::commit(std::size_t bytes, std::int64_t now_ns, bool prefault) noexcept {
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
