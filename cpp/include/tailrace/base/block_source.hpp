// block_source.hpp -- where run blocks and lanes get their memory.
//
// What      An interface of two calls, and the default that asks the C++ heap.
// Why       The memory pool (pool/) plugs in here; nothing above it has to know.
// Threads   take and give: any thread.
#pragma once

#include <cstddef>
#include <new>

#include "tailrace/base/cache_line.hpp"

namespace tailrace::base {

class BlockSource {
 public:
  virtual ~BlockSource() = default;
  // A block of `bytes`, aligned to a cache line; throws std::bad_alloc.
  virtual void* take(std::size_t bytes) = 0;
  virtual void give(void* block, std::size_t bytes) noexcept = 0;
};

class HeapBlocks final : public BlockSource {
 public:
  void* take(std::size_t bytes) override { return ::operator new(bytes, std::align_val_t{kCacheLine}); }
  void give(void* block, std::size_t bytes) noexcept override {
    ::operator delete(block, bytes, std::align_val_t{kCacheLine});
  }
  static HeapBlocks& instance() noexcept {
    static HeapBlocks source;
    return source;
  }
};

}  // namespace tailrace::base
