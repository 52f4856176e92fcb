// memory_pool.hpp -- tensor-sized buffers, and the scheduler's small objects, at the cost of a pointer.
//
// What      A handle, cheap to copy, on a pool of memory: one reserved range, a limit on what of it is committed, a cache
//           for each thread. `allocate` and `deallocate` from any thread, in any order.
// Why       A service that holds a few buffers of 1 to 16 MiB pays the C library ten times what it costs to fill them.
// Threads   All members: any thread. The pool ends with its last handle; a handle outlives the blocks allocated by it.
//           `close` refuses new allocations only: blocks stay good and may be given back.
// Faults    A block freed twice, a pointer that is not the start of a live block, a foreign pointer: the process ends with
//           the reason (base/check). Python never gets there: its arrays own their blocks.
// Checked   tests/cpp/pool, tests/stress/pool.cpp (random traces beside a shadow model), tests/model (its lock-free parts).
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <memory_resource>

#include "tailrace/base/block_source.hpp"
#include "tailrace/base/check.hpp"
#include "tailrace/pool/core.hpp"
#include "tailrace/pool/options.hpp"
#include "tailrace/pool/statistics.hpp"

namespace tailrace::pool {

class MemoryPool {
 public:
  explicit MemoryPool(const PoolOptions& options = {});  // throws std::invalid_argument, std::bad_alloc

  // A block of at least `bytes` (0 counts as 1), aligned to `alignment`, a power of two up to 2 MiB. Blocks of 64 KiB and
  // more are aligned to 64 KiB, whatever is asked for. On shortage the pool first takes back what threads have cached and
  // gives back what it retains; only then `allocate` throws PoolExhausted, `try_allocate` returns nullptr, `allocate_within`
  // waits for others to free and returns nullptr after `timeout_ns`.
  void* allocate(std::size_t bytes, std::size_t alignment = 64) {
    void* block = is_alignment(alignment) ? try_allocate(bytes, alignment) : nullptr;
    if (__builtin_expect(block == nullptr, 0)) refuse(bytes, alignment);
    return block;
  }
  void* try_allocate(std::size_t bytes, std::size_t alignment = 64) noexcept {
    TAILRACE_CHECK(is_alignment(alignment), "an alignment is a power of two up to 2 MiB");
    return core_->try_allocate(bytes, alignment < kMinAlignment ? kMinAlignment : alignment);
  }
  // As `allocate`, for a password or a key: whatever the pool's options, its bytes are overwritten when it is freed.
  void* allocate_secret(std::size_t bytes, std::size_t alignment = 64) {
    void* block = allocate(bytes, alignment);
    core_->keep_secret(block);
    return block;
  }
  void* allocate_within(std::size_t bytes, std::int64_t timeout_ns, std::size_t alignment = 64);
  void deallocate(void* block) noexcept { core_->deallocate(block); }  // nullptr is allowed

  // What the block really holds; in a hardened pool, what was asked for.
  std::size_t usable_bytes(const void* block) const noexcept;
  bool owns(const void* pointer) const noexcept;  // whether it points into this pool's range
  Shortage shortage(std::size_t bytes) const noexcept;  // as it would be told now

  void listen(FreeListener& listener);  // until `unlisten`; told at every free meanwhile
  void unlisten(FreeListener& listener) noexcept;  // when it returns the listener is not called any more

  void close() noexcept;
  // Of a hardened pool: looks whether all blocks in quarantine are as they were left, and returns how many there are.
  std::size_t check() noexcept;
  bool closed() const noexcept;

  // Commits `bytes` now; `prefault`: and makes their pages, so that no first touch waits. Returns what is ready.
  std::size_t reserve(std::size_t bytes, bool prefault);
  // Takes back what threads have cached and gives free memory back to the system until at most `keep_bytes` of it are
  // retained; returns how much went back.
  std::size_t trim(std::size_t keep_bytes = 0) noexcept;
  // One pass of decay at the time of the clock, as the purge thread makes it; returns how much went back.
  std::size_t purge() noexcept;
  // Hands back what this thread has cached of this pool, blocks of other threads first.
  void flush_thread() noexcept;

  PoolStatistics statistics() const;
  const PoolOptions& options() const noexcept;

  // The same pool as the standard's interface, and as what the scheduler takes its blocks from. Both live as long as the
  // pool; `do_allocate` throws PoolExhausted.
  std::pmr::memory_resource* resource() const noexcept;
  base::BlockSource& blocks() const noexcept;

  friend bool operator==(const MemoryPool&, const MemoryPool&) = default;

 private:
  [[noreturn, gnu::cold]] void refuse(std::size_t bytes, std::size_t alignment) const;

  std::shared_ptr<Core> core_;
};

// Hands the blocks of other threads, which this thread has freed and still holds, to their owners: of all pools. A worker
// calls it before it sleeps. Costs one look when there are none.
void flush_remote_frees() noexcept;

}  // namespace tailrace::pool
