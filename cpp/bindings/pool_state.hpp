// pool_state.hpp -- a memory pool as the Python side shares it: the pool, its tags, what is being measured.
//
// What      `PoolState`: blocks out and back in, counted by tag and by the scopes that are open.
// Why       Arrays, DLPack exports and NumPy's handlers outlive the Python object; each holds this instead, so that a free
//           touches nothing of Python's. A tag and a scope cost those who use them: a block without is one call further.
// Threads   take, give, Meter and the counts of a Tag: any thread, without the GIL. The list of tags: under the GIL.
// Checked   tests/python/test_memory_pool_tags.py
#pragma once

#include <array>
#include <cstddef>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>
#include <vector>

#include "tailrace/base/atomic.hpp"
#include "tailrace/pool/memory_pool.hpp"
#include "tailrace/pool/trace_file.hpp"

namespace tailrace::bindings {

// What one part of the program has of a pool.
struct Tag {
  std::string name;
  // relaxed, all: counts. The limit is checked by the addition itself; the block goes to its next user by the pool.
  base::atomic<std::size_t> limit_bytes{SIZE_MAX};
  base::atomic<std::size_t> used_bytes{0};
  base::atomic<std::size_t> peak_used_bytes{0};
  base::atomic<std::uint64_t> n_alloc{0};
  base::atomic<std::uint64_t> n_free{0};
  base::atomic<std::uint64_t> n_refused{0};  // by the tag's limit

  bool add(std::size_t bytes) noexcept;
  void subtract(std::size_t bytes) noexcept;
};

// Counts while a scope is open. A scope is the difference of two readings, and a peak of its own.
class Meter {
 public:
  static constexpr unsigned kMaxScopes = 16;

  struct Reading {
    std::uint64_t n_alloc = 0;
    std::uint64_t n_free = 0;
    std::uint64_t allocated_bytes = 0;
    std::int64_t live_bytes = 0;  // allocated less freed, since anything was measured; may be negative
  };

  bool is_on() const noexcept { return open_.load(base::relaxed) != 0; }  // relaxed, all: counts, as in Tag
  void set_traced(bool on) noexcept;
  void allocated(std::size_t bytes) noexcept;
  void freed(std::size_t bytes) noexcept;

  Reading read() const noexcept;
  int open() noexcept;  // a scope's number, or -1: all are open. Under the GIL
  void close(int scope) noexcept;
  std::int64_t peak(int scope) const noexcept;  // the highest `live_bytes` since it was opened

 private:
  static constexpr std::uint32_t kTraced = std::uint32_t{1} << 31;
  base::atomic<std::uint32_t> open_{0};  // one bit for each scope, and one for a trace
  base::atomic<std::uint64_t> n_alloc_{0};
  base::atomic<std::uint64_t> n_free_{0};
  base::atomic<std::uint64_t> allocated_bytes_{0};
  base::atomic<std::int64_t> live_bytes_{0};
  std::array<base::atomic<std::int64_t>, kMaxScopes> peaks_{};
};

class FreeSignal;

// What a trace is written to. Blocks that were allocated before it began are not in it.
struct Trace {
  explicit Trace(const std::string& path) : file{path} {}
  pool::TraceFile file;
  std::unordered_map<const void*, std::size_t> live;  // and what was asked for
};

class PoolState {
 public:
  explicit PoolState(const pool::PoolOptions& options) : pool{options} {}

  // Null: the pool is short, its tag is, or it is closed.
  void* take(std::size_t bytes, Tag* tag) noexcept {
    return tag == nullptr && !meter.is_on() ? pool.try_allocate(bytes) : take_counted(bytes, tag);
  }
  void give(void* block, Tag* tag) noexcept {
    if (tag != nullptr || meter.is_on()) count_free(block, tag);
    pool.deallocate(block);
  }

  // Refuses new allocations, and wakes those who wait for one.
  void close() noexcept;
  void add(FreeSignal* signal);
  void remove(FreeSignal* signal) noexcept;

  // Writes calls down until `stop_trace`; false: that is done already. Throws std::system_error: the file cannot be written.
  bool start_trace(const std::string& path);
  bool stop_trace() noexcept;  // false: no trace is written

  pool::MemoryPool pool;
  Meter meter;
  std::map<std::string, Tag, std::less<>> tags;  // a tag stays where it is: blocks point to it

 private:
  void* take_counted(std::size_t bytes, Tag* tag) noexcept;
  void count_free(const void* block, Tag* tag) noexcept;
  void trace_alloc(const void* block, std::size_t bytes, const Tag* tag) noexcept;
  void trace_free(const void* block, const Tag* tag) noexcept;

  std::mutex trace_guard_;
  std::unique_ptr<Trace> trace_;
  std::mutex guard_;  // of the signals: a waiter that is ended at exit leaves without the GIL
  std::vector<FreeSignal*> signals_;
};

}  // namespace tailrace::bindings
