// thread_cache.hpp -- what one thread keeps ready of one pool: a stack of free blocks for each class, and its slabs.
//
// What      `hit` and `keep`, the way of nearly every allocation and free: a stack's top, a mark, a count, all of them this
//           thread's own. `take` and `give` when the stack is empty or full; `flush` to hand things back.
// Why       A hit shares nothing with anybody, and touches nothing of the block itself.
// How       Small blocks come from slabs that this cache owns. Blocks of other threads' slabs may lie in the stack too and be
//           used again; what overflows goes home, to our slab at once, to another's in a batch (remote_frees.hpp). Large
//           blocks: up to eight of a class, within a budget of bytes for all; what does not fit goes to the central slots.
// Threads   Everything but `remote_frees` and the counters: who holds `lock`, by owning the thread or by a visit. A cache
//           whose thread has ended is adopted whole by a new one.
// Checked   tests/cpp/pool/test_memory_pool.cpp, tests/stress/pool.cpp.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>

#include "tailrace/base/cache_line.hpp"
#include "tailrace/base/clock.hpp"
#include "tailrace/metrics/counter.hpp"
#include "tailrace/pool/central.hpp"
#include "tailrace/pool/owner_lock.hpp"
#include "tailrace/pool/quarantine.hpp"
#include "tailrace/pool/range.hpp"
#include "tailrace/pool/remote_frees.hpp"
#include "tailrace/pool/size_class.hpp"
#include "tailrace/pool/slab.hpp"

namespace tailrace::pool {

// This thread has freed blocks of other threads that it has not sent yet, in some cache.
extern thread_local constinit bool has_outgoing;

class alignas(base::kCacheLine) ThreadCache {
 public:
  ThreadCache(Range& range, Central& central, const base::Clock& clock, std::size_t budget_bytes,
              bool asymmetric) noexcept;

  OwnerLock<>& lock() noexcept { return lock_; }
  RemoteFrees<Parcel>& remote_frees() noexcept { return remote_frees_; }

  // What lies ready; nullptr when nothing does, and always for the huge class.
  std::byte* hit(std::size_t size_class) noexcept {
    Stack& stack = stacks_[size_class];
    const std::uint32_t size = stack.size.load(base::relaxed);
    if (__builtin_expect(size == 0, 0)) return nullptr;
    stack.size.store(size - 1, base::relaxed);
    if (size_class >= kSlabClasses) held_bytes_ -= class_bytes(size_class);
    std::byte* memory = stack.blocks[size - 1];
    live_.set(memory);
    return memory;
  }
  // False: there is no room for it.
  bool keep(std::size_t size_class, std::byte* memory) noexcept {
    return keep_within(size_class, memory, budget_bytes_);
  }
  bool keep_within(std::size_t size_class, std::byte* memory, std::size_t budget_bytes) noexcept {
    Stack& stack = stacks_[size_class];
    const std::uint32_t size = stack.size.load(base::relaxed);
    if (__builtin_expect(size >= stack.room, 0)) return false;
    if (size_class >= kSlabClasses) {
      const std::size_t held = held_bytes_ + class_bytes(size_class);
      if (held > budget_bytes) return false;
      held_bytes_ = held;
    }
    live_.clear(memory);
    stack.blocks[size] = memory;
    stack.size.store(size + 1, base::relaxed);
    stack.frees.add();
    return true;
  }

  // nullptr: the range has none. `at_unit`: a large block has to begin at a multiple of a unit.
  std::byte* take(std::size_t size_class, bool at_unit) noexcept;
  std::byte* take_huge(std::size_t slices) noexcept;
  void give(std::size_t size_class, std::byte* memory) noexcept;

  // Sends home what others own and this thread has freed; `all`: also what it keeps ready.
  void send_outgoing(bool all) noexcept;
  // Takes in what others sent; gives all that is free back to the range, unused since `freed_ns`.
  void flush(std::int64_t freed_ns) noexcept;
  // One interval of decay: blocks that were not needed since the last; everything if the thread did nothing.
  void decay(std::int64_t freed_ns) noexcept;

  // Of a hardened pool, before the cache is used; throws std::bad_alloc.
  void harden(std::size_t quarantine_bytes) { quarantine_ = std::make_unique<Quarantine>(quarantine_bytes); }
  Quarantine* quarantine() noexcept { return quarantine_.get(); }
  std::size_t look_at_quarantine() noexcept;  // at each block in it; how many there are

  // Statistics: one writer, who holds the lock; any reader. What came from below or was freed, and neither went back down
  // nor lies ready, was allocated: so a hit counts nothing.
  std::uint64_t allocs(std::size_t size_class) const noexcept {
    const Stack& stack = stacks_[size_class];
    const std::uint64_t from_stack = stack.from_below.read() + stack.frees.read() - stack.size.load(base::relaxed);
    return from_stack + (is_quarantined(size_class) ? quarantine_->reused(size_class) : 0);
  }
  std::uint64_t frees(std::size_t size_class) const noexcept {
    return stacks_[size_class].frees.read() + (is_quarantined(size_class) ? quarantine_->kept(size_class) : 0);
  }
  std::size_t quarantined_bytes() const noexcept;
  std::uint64_t operations() const noexcept;
  metrics::Counter huge_alloc_bytes, huge_free_bytes, remote, misses;

 private:
  struct alignas(256) Stack {
    base::atomic<std::uint32_t> size{0};  // relaxed, all: one writer, and a recent value for statistics
    std::uint32_t room = 0;
    metrics::Counter frees;
    metrics::Counter from_below;  // blocks, less those that went back down; wraps round
    std::uint64_t frees_at_decay = 0;
    std::array<std::byte*, 28> blocks{};
  };
  struct Bin {
    Slab* current = nullptr;  // from which blocks come
    Slab* partial = nullptr;  // others with free blocks
  };
  static constexpr std::size_t kOutgoing = 8;
  static constexpr std::uint32_t kLargeRoom = 8;

  bool is_quarantined(std::size_t size_class) const noexcept {
    return quarantine_ != nullptr && size_class < kSlabClasses;
  }
  void end_quarantine() noexcept;
  [[noreturn, gnu::cold]] static void spoilt(const FreeBlock* block, std::size_t bytes) noexcept;
  bool refill(std::size_t size_class) noexcept;
  bool next_slab(std::size_t size_class) noexcept;
  static void carve(Slab& slab) noexcept;
  bool make_room(std::size_t size_class) noexcept;
  void put_back(std::size_t size_class, std::uint32_t n, std::int64_t freed_ns) noexcept;
  void give_home(std::byte* memory) noexcept;
  void take_in(Slab& slab, std::byte* memory) noexcept;
  void receive() noexcept;
  void push(Stack& stack, std::byte* memory) noexcept;
  void release(Slab& slab, std::int64_t freed_ns) noexcept;
  static void link(Bin& bin, Slab& slab) noexcept;
  void unlink(Bin& bin, Slab& slab) noexcept;

  OwnerLock<> lock_;
  LiveMarks live_;  // the range's
  std::size_t held_bytes_ = 0;  // in the stacks of large blocks
  const std::size_t budget_bytes_;  // for them
  std::array<Stack, kClasses + 2> stacks_{};  // two that stay empty, to be looked at after the last
  Range& range_;
  Central& central_;
  const base::Clock& clock_;
  std::uint64_t operations_at_decay_ = 0;
  std::array<Bin, kSlabClasses> bins_{};
  std::size_t empty_bytes_ = 0;  // in the bins' other slabs, of which no block is in use
  std::array<Outgoing<ThreadCache>, kOutgoing> outgoing_{};
  std::unique_ptr<Quarantine> quarantine_;  // null: the pool is not hardened
  alignas(base::kCacheLine) RemoteFrees<Parcel> remote_frees_;  // others write it
};

}  // namespace tailrace::pool
