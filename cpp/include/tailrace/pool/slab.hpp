// slab.hpp -- what is known of a run of slices: a slab that is cut into small blocks, or one large block.
//
// What      The descriptor, which stands outside of the memory it describes; one mark for each 16 bytes of the range, set
//           where a live block begins: ordinary, or a secret, which is wiped when it is freed, or a
//           hardened pool's, which is checked.
// Why       A write past a block's end spoils no book-keeping. A pointer freed twice, or that never was a block, is seen by
//           its mark before anything is believed about it. A byte, not a bit: neighbours have different writers.
// Threads   A slab's free list and counts: who holds its owner's cache. Class, size, owner: fixed while a block of it lives,
//           so whoever has a block may read them. A mark: who has the block.
// Checked   tests/cpp/pool/test_faults.cpp, tests/stress/pool.cpp.
#pragma once

#include <cstddef>
#include <cstdint>

#include "tailrace/base/atomic.hpp"
#include "tailrace/base/cache_line.hpp"
#include "tailrace/pool/remote_frees.hpp"
#include "tailrace/pool/size_class.hpp"

namespace tailrace::pool {

class ThreadCache;

struct alignas(base::kCacheLine) Slab {
  FreeBlock* free = nullptr;
  std::uint32_t used = 0;  // blocks given out, also those on their way back
  std::uint32_t carved = 0;  // blocks that were ever free; the rest has not been touched
  union {
    std::uint32_t capacity = 0;
    std::uint32_t guard_slices;  // of a large block: inaccessible ones at its end
  };
  std::uint32_t block_bytes = 0;
  std::uint32_t size_class = 0;
  std::uint32_t slices = 0;
  ThreadCache* owner = nullptr;
  Slab* next = nullptr;  // among the bin's slabs that have free blocks
  Slab* previous = nullptr;
  std::byte* memory = nullptr;

  bool holds(const void* block) const noexcept {
    const std::uintptr_t offset = reinterpret_cast<std::uintptr_t>(block) - reinterpret_cast<std::uintptr_t>(memory);
    return offset < std::size_t{slices} << kSliceShift && offset % 16 == 0;
  }
};

// Asked by address: the table begins where the mark of address 0 would be.
class LiveMarks {
 public:
  using Mark = base::atomic<std::uint8_t>;
  static constexpr int kGranuleShift = 4;
  static constexpr std::size_t kGranule = std::size_t{1} << kGranuleShift;
  static constexpr std::uint8_t kOrdinary = 1;
  static constexpr std::uint8_t kSecret = 2;
  static constexpr std::uint8_t kChecked = 3;  // of a hardened pool

  LiveMarks(Mark* marks, const void* range) noexcept
      : origin_{reinterpret_cast<std::uintptr_t>(marks) - reinterpret_cast<std::uintptr_t>(range) / kGranule} {}

  // relaxed (all): a mark has one writer at a time, and what it guards travels with the block.
  bool is_secret(const void* block) const noexcept { return mark(block).load(base::relaxed) == kSecret; }
  void set(const void* block) const noexcept { mark(block).store(kOrdinary, base::relaxed); }
  void set_checked(const void* block) const noexcept { mark(block).store(kChecked, base::relaxed); }
  void set_secret(const void* block) const noexcept { mark(block).store(kSecret, base::relaxed); }
  void clear(const void* block) const noexcept { mark(block).store(0, base::relaxed); }

 private:
  Mark& mark(const void* block) const noexcept {
    return *reinterpret_cast<Mark*>(origin_ + reinterpret_cast<std::uintptr_t>(block) / kGranule);
  }
  std::uintptr_t origin_;
};

}  // namespace tailrace::pool
