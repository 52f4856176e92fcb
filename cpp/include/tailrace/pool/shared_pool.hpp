// shared_pool.hpp -- blocks of memory that several processes use at once: a handle travels, the bytes stay.
//
// What      `SharedPool` makes a segment or attaches one by its descriptor. `allocate` gives a block, `share` a handle of
//           five numbers, `open` the same block in another process. A block lives while any process holds it.
// Why       To pickle 16 MiB through a pipe costs five copies; to map a segment for each message costs a page fault for
//           each page. Mapped once, a block costs its receiver a few hundred nanoseconds, whatever its size.
// Threads   All members: any thread. A process takes part once for each pool that it makes or attaches.
// Lifetime  Blocks outlive the pool that gave them. What a process held when it ended, however it ended, is taken back by
//           the others: on shortage, at each attach, by `reap`. With its last user the segment is gone; it has no name.
// Fork      The child is a participant of its own from its first instruction, and holds what its parent held. When all slots
//           are taken it is none: the blocks it inherited then last as long as the parent's, and it must attach anew.
// Checked   tests/cpp/pool/test_shared_pool.cpp, test_shared_crash.cpp (processes killed at random), shared_ledger.hpp.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>

#include "tailrace/pool/shared_segment.hpp"

namespace tailrace::pool {

class SharedCore;

// Says which block, to any process that has attached the segment. Plain numbers below 2^53, but the segment's id.
struct SharedHandle {
  std::uint64_t segment = 0;
  std::uint64_t offset = 0;  // of the block, from the start of the data
  std::uint64_t serial = 0;
  std::uint64_t bytes = 0;
  std::uint64_t courier = 0;  // 1 + the slot that holds it until it is opened; 0: none
};

// A hold on a block. Moves, and ends with its object.
class SharedBlock {
 public:
  SharedBlock() = default;
  SharedBlock(std::shared_ptr<SharedCore> core, std::uint32_t head, std::byte* data, std::size_t bytes, bool writable)
      : core_{std::move(core)}, data_{data}, bytes_{bytes}, head_{head}, writable_{writable} {}
  SharedBlock(SharedBlock&& other) noexcept { *this = std::move(other); }
  SharedBlock& operator=(SharedBlock&& other) noexcept;
  ~SharedBlock() { reset(); }

  void reset() noexcept;
  explicit operator bool() const noexcept { return core_ != nullptr; }
  std::byte* data() const noexcept { return data_; }
  std::size_t bytes() const noexcept { return bytes_; }
  bool writable() const noexcept { return writable_; }  // else a write ends the process: its pages are for reading

 private:
  friend class SharedPool;
  std::shared_ptr<SharedCore> core_;
  std::byte* data_ = nullptr;
  std::size_t bytes_ = 0;
  std::uint32_t head_ = 0;
  bool writable_ = false;
};

struct SharedStatistics {
  std::uint64_t limit_bytes = 0;
  std::uint64_t granule_bytes = 0;  // blocks are whole granules
  std::uint64_t used_bytes = 0;  // in blocks of all processes, by granules
  std::uint64_t largest_free_bytes = 0;
  std::uint64_t blocks = 0;  // that somebody holds
  std::uint64_t in_transit = 0;  // of these: shared until opened, and not opened yet
  std::uint64_t participants = 0;
  std::uint64_t held_blocks = 0;  // by this process, through this pool
  std::uint64_t n_alloc = 0;  // these by this process, through this pool
  std::uint64_t n_open = 0;
  std::uint64_t n_stale = 0;  // handles whose block was gone
  std::uint64_t n_exhausted = 0;
  std::uint64_t n_reaped = 0;  // dead participants cleaned up after
  std::uint64_t reclaimed_blocks = 0;  // that went free with them
};

class SharedPool {
 public:
  // `limit_bytes` is rounded up to whole granules: 4 KiB for up to 4 MiB, 64 KiB from 32 MiB on, more above 64 GiB.
  // Throws std::invalid_argument, std::system_error.
  explicit SharedPool(std::size_t limit_bytes);
  // `descriptor` stays the caller's. Not writable: what is opened is mapped for reading, and nothing can be allocated.
  // Throws SharedPoolError, std::system_error.
  static SharedPool attach(int descriptor, bool writable = true);

  // A block aligned to its granule, with whatever was in it; without one where nothing fits, after dead participants have
  // been reaped. Throws SharedPoolError (closed, read-only, forked), std::invalid_argument for 0 bytes.
  SharedBlock allocate(std::size_t bytes);
  // Keep the block until the other side has opened it; or say `until_opened`: then it is held for who opens it first,
  // as long as this process lives.
  SharedHandle share(const SharedBlock& block, bool until_opened = false);
  // Throws SharedPoolError (foreign, bad, stale, closed, read-only, forked).
  SharedBlock open(const SharedHandle& handle, bool writable = false);

  // Takes back what dead participants held; returns how many there were.
  std::size_t reap();
  // Gives the pages of free memory back to the system; returns how much is free. An allocation at the same time may find
  // less. Nothing is done for a pool attached for reading.
  std::size_t trim();

  void close() noexcept;  // refuses `allocate` and `open`; blocks stay good
  bool closed() const noexcept;
  bool writable() const noexcept;
  int descriptor() const noexcept;  // to be given to another process; stays the pool's
  std::uint64_t id() const noexcept;
  SharedStatistics statistics() const;

 private:
  explicit SharedPool(std::shared_ptr<SharedCore> core) : core_{std::move(core)} {}
  std::shared_ptr<SharedCore> core_;
};

}  // namespace tailrace::pool
