// tailrace.hpp -- tailrace's pool as an engine.
//
// What      `Pool`.
// Why       One text for all allocation benches.
// Threads   Any.
#pragma once

#include "heap.hpp"
#include "tailrace/pool/memory_pool.hpp"

namespace bench::alloc {

class Pool {
 public:
  explicit Pool(const tailrace::pool::PoolOptions& options = {.limit_bytes = std::size_t{4} << 30}) : pool_(options) {}
  const char* name() const noexcept { return "tailrace"; }
  Pool& local() noexcept { return *this; }
  void* allocate(std::size_t bytes) { return pool_.allocate(bytes, kAlignment); }
  void deallocate(void* block, std::size_t) noexcept { pool_.deallocate(block); }
  tailrace::pool::MemoryPool& pool() noexcept { return pool_; }

 private:
  tailrace::pool::MemoryPool pool_;
};

}  // namespace bench::alloc
