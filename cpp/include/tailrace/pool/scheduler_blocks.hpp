// scheduler_blocks.hpp -- the process's own pool, for what the scheduler makes while it runs: run blocks, tasks of groups.
//
// What      `scheduler_blocks`, a block source for run blocks; `Pooled`, a base whose `new` and `delete` use the same pool.
// Why       Tasks are made on one thread and freed on the thief's: the pool sends them home in batches, and shows what they take.
// Threads   Any. Made at the first use and never destroyed, since tasks may outlive the end of main. Where the pool cannot be made
//           (a limit on address space) or is used up, the C++ heap serves.
// Checked   tests/cpp/pool/test_scheduler_blocks.cpp.
#pragma once

#include <cstddef>
#include <new>

#include "tailrace/base/block_source.hpp"
#include "tailrace/pool/memory_pool.hpp"

namespace tailrace::pool {

class SchedulerBlocks final : public base::BlockSource {
 public:
  SchedulerBlocks() noexcept;
  void* take(std::size_t bytes) override {
    void* block = pool_ != nullptr ? pool_->try_allocate(bytes, base::kCacheLine) : nullptr;
    return __builtin_expect(block != nullptr, 1) ? block : base::HeapBlocks::instance().take(bytes);
  }
  void give(void* block, std::size_t bytes) noexcept override {
    if (__builtin_expect(pool_ != nullptr && pool_->owns(block), 1)) return pool_->deallocate(block);
    base::HeapBlocks::instance().give(block, bytes);
  }
  PoolStatistics statistics() const;  // all zero where there is no pool

 private:
  MemoryPool* pool_ = nullptr;
};

SchedulerBlocks& scheduler_blocks();

struct Pooled {
  static void* operator new(std::size_t bytes) { return scheduler_blocks().take(bytes); }
  static void operator delete(void* block, std::size_t bytes) noexcept { scheduler_blocks().give(block, bytes); }
  // For what is aligned to more than a cache line.
  static void* operator new(std::size_t bytes, std::align_val_t alignment) {
    return static_cast<std::size_t>(alignment) <= base::kCacheLine ? operator new(bytes)
                                                                   : ::operator new(bytes, alignment);
  }
  static void operator delete(void* block, std::size_t bytes, std::align_val_t alignment) noexcept {
    if (static_cast<std::size_t>(alignment) <= base::kCacheLine) return operator delete(block, bytes);
    ::operator delete(block, bytes, alignment);
  }
};

}  // namespace tailrace::pool
