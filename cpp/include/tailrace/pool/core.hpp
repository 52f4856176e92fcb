// core.hpp -- what the handles of one pool share: the range, the central slots, the threads' caches, the policies.
//
// What      The way of a hit, inline; shortage, decay and closing, not.
// Why       A handle is a pointer to this. Whoever would rather follow the code reads from here: allocate -> this thread's
//           cache -> central -> range; and on shortage: visit every cache, purge, try again.
// Threads   All members: any thread.
// Checked   tests/cpp/pool, tests/stress/pool.cpp.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <memory_resource>
#include <mutex>
#include <vector>

#include "tailrace/base/block_source.hpp"
#include "tailrace/pool/central.hpp"
#include "tailrace/pool/hardened.hpp"
#include "tailrace/pool/options.hpp"
#include "tailrace/pool/range.hpp"
#include "tailrace/pool/statistics.hpp"
#include "tailrace/pool/thread_cache.hpp"

namespace tailrace::pool {

// The cache that this thread used last. The number, not the address, names a pool: addresses come again.
struct Front {
  std::uint64_t pool = 0;
  ThreadCache* cache = nullptr;
};
extern thread_local constinit Front front;
inline constexpr std::uint64_t kNoHits =
    ~std::uint64_t{0};  // no pool's number, and not what a new thread's front shows

class Core : public std::enable_shared_from_this<Core> {
 public:
  explicit Core(const PoolOptions& options);
  ~Core();

  void* try_allocate(std::size_t bytes, std::size_t alignment) noexcept {
    const std::size_t size_class = class_of(bytes, alignment);
    if (const Front& mine = front; __builtin_expect(mine.pool == key_.load(base::relaxed), 1)) {
      ThreadCache& cache = *mine.cache;
      if (__builtin_expect(cache.lock().try_enter(), 1)) {
        void* memory = cache.hit(size_class);
        cache.lock().leave();
        if (__builtin_expect(memory != nullptr, 1)) return memory;
      }
    }
    return allocate_slowly(size_class, bytes, alignment);
  }

  void deallocate(void* block) noexcept {
    const std::size_t offset = range_.offset(block);
    if (__builtin_expect(!range_.is_ordinary(offset), 0)) return give_special(block);
    if (const Front& mine = front; __builtin_expect(mine.pool == id_, 1)) {
      ThreadCache& cache = *mine.cache;
      if (__builtin_expect(cache.lock().try_enter(), 1)) {
        const bool kept = cache.keep(range_.class_at(offset), static_cast<std::byte*>(block));
        cache.lock().leave();
        if (__builtin_expect(kept, 1)) return;
      }
    }
    give_slowly(static_cast<std::byte*>(block));
  }

  std::size_t usable_bytes(const void* block) const noexcept;
  Shortage shortage(std::size_t bytes) const noexcept;
  PoolStatistics statistics() const;
  std::size_t reserve(std::size_t bytes, bool prefault);
  std::size_t trim(std::size_t keep_bytes) noexcept;
  std::size_t purge() noexcept;
  void flush_thread() noexcept;
  void close() noexcept;
  bool closed() const noexcept { return closed_.load(base::relaxed); }
  // What is freed is overwritten first.
  void keep_secret(void* block) const noexcept { range_.live().set_secret(block); }
  // Looks at every block in quarantine, and returns how many there are.
  std::size_t check() noexcept;
  void listen(FreeListener& listener);
  void unlisten(FreeListener& listener) noexcept;

  std::uint64_t id() const noexcept { return id_; }
  const PoolOptions& options() const noexcept { return options_; }
  std::pmr::memory_resource& resource() noexcept { return resource_; }
  base::BlockSource& blocks() noexcept { return blocks_; }
  Range& range() noexcept { return range_; }

  // A thread's coming and going. `adopt`: a cache for this thread. `abandon`: its thread ends.
  ThreadCache& adopt();
  void abandon(ThreadCache& cache) noexcept;
  void lock_for_fork() noexcept;
  void unlock_after_fork() noexcept;
  void after_fork() noexcept;  // in the child
  // Whether the purge thread looks after this pool.
  bool decays() const noexcept { return options_.decay_ns >= 0 && !options_.clock->is_virtual(); }
  // By the purge thread: has nothing happened for so long that nothing is left to give back? Then a free will wake it.
  bool rest() noexcept;

 private:
  struct Entry {
    ThreadCache cache;
    base::atomic<bool> has_thread{true};
    bool lost = false;  // in a forked child: its thread was in the middle of something
    Entry* next = nullptr;
  };
  struct Resource final : std::pmr::memory_resource {
    explicit Resource(Core& c) noexcept : core{c} {}
    void* do_allocate(std::size_t bytes, std::size_t alignment) override;
    void do_deallocate(void* block, std::size_t, std::size_t) override { core.deallocate(block); }
    bool do_is_equal(const memory_resource& other) const noexcept override { return this == &other; }
    Core& core;
  };
  struct Blocks final : base::BlockSource {
    explicit Blocks(Core& c) noexcept : core{c} {}
    void* take(std::size_t bytes) override { return core.resource().allocate(bytes, base::kCacheLine); }
    void give(void* block, std::size_t) noexcept override { core.deallocate(block); }
    Core& core;
  };

  ThreadCache* mine() noexcept { return front.pool == id_ ? front.cache : find_mine(); }
  ThreadCache* find_mine() noexcept;
  [[gnu::noinline]] void* allocate_slowly(std::size_t size_class, std::size_t bytes, std::size_t alignment) noexcept;
  void* allocate_anew(std::size_t size_class, std::size_t bytes, bool at_unit = true) noexcept;
  void* allocate_hardened(std::size_t bytes, std::size_t alignment) noexcept;
  void* allocate_fresh(std::size_t size_class, std::size_t bytes) noexcept;
  void* allocate_run(std::size_t bytes, std::size_t alignment) noexcept;
  [[gnu::noinline]] void give_slowly(std::byte* block) noexcept;
  [[gnu::noinline]] void give_special(void* block) noexcept;
  void free_hardened(std::byte* block) noexcept;
  void free_run(std::byte* block) noexcept;
  void quarantine_slowly(std::size_t size_class, std::byte* block) noexcept;
  void release_runs(bool all) noexcept;
  void give_run(std::byte* block, std::size_t room) noexcept;
  std::size_t room_of(const void* block) const noexcept;
  void stir(ThreadCache* cache, bool freed) noexcept;
  void set_watched() noexcept;
  bool close_quick_ways(bool patiently) noexcept;
  void* take(std::size_t size_class, std::size_t bytes, bool at_unit) noexcept;
  void reclaim(std::size_t needed_bytes) noexcept;
  std::size_t give_back(std::size_t keep_bytes) noexcept;
  void empty_central(bool all, std::int64_t freed_ns) noexcept;
  std::size_t used_bytes() const noexcept;
  std::uint64_t operations() const noexcept;
  template <class Visit>
  void visit_caches(Visit&& visit) noexcept;
  template <class See>
  void see_caches(See&& see) const noexcept;

  const std::uint64_t id_;
  // What `front` must show for a hit. relaxed: from some moment on, none is served.
  base::atomic<std::uint64_t> key_;  // kNoHits: closed, or hardened
  // Somebody listens, or the purge thread rests: each free must look. Set before the quick ways are closed, under visits:
  // who is let in afterwards sees it. relaxed: what the lock orders.
  base::atomic<bool> watched_{false};
  Range range_;
  const PoolOptions options_;
  Central central_;
  const std::unique_ptr<Hardened> hardened_;  // null: the pool is not
  base::atomic<bool> closed_{false};  // relaxed: a close is no order, only a refusal from some moment on
  base::atomic<Entry*> entries_{nullptr};  // only grows
  // relaxed (all): counts for statistics, or the limits of a policy.
  base::atomic<std::uint64_t> shortages_{0};
  base::atomic<std::uint64_t> exhaustions_{0};
  mutable base::atomic<std::size_t> peak_used_bytes_{0};
  base::atomic<std::size_t> reserved_floor_bytes_{0};
  base::atomic<bool> purge_rests_{true};
  std::mutex stray_mutex_;  // guards stray_: for threads whose own caches have ended before their last frees
  ThreadCache stray_;
  bool stray_lost_ = false;  // a fork came in the middle of a visit to it
  std::mutex
      purge_mutex_;  // one pass at a time, of decay or of who is short: what one holds in its hands another misses
  std::size_t in_gaps_at_pass_ = 0;
  std::int64_t last_pass_ns_ = 0;
  std::uint64_t operations_at_pass_ = 0;
  std::int64_t quiet_since_ns_ = 0;
  std::mutex listeners_mutex_;  // guards what follows, and the closing and opening of quick ways
  std::vector<FreeListener*> listeners_;
  Resource resource_{*this};
  Blocks blocks_{*this};
};

}  // namespace tailrace::pool
