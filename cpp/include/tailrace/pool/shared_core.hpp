// shared_core.hpp -- one participant of a shared pool: what of it this process holds.
//
// What      The segment, this process's slot in it, a count for each block it holds, and the care for dead participants and
//           for children to come.
// Why       In the segment a participant has one bit for each block; how many arrays stand on it is its own business, and
//           gone with it.
// Threads   Any. `mutex_` orders the holds of this process on one block; one mutex for all participants of the process is for
//           who takes or reaps slots. Both are held over a fork, so that the child finds them whole.
// Lifetime  By the pool and its blocks. While something is in transit, it stays until that is opened or the process ends.
#pragma once

#include <memory>
#include <mutex>
#include <unordered_map>

#include "tailrace/pool/shared_pool.hpp"

namespace tailrace::pool {

class SharedCore : public std::enable_shared_from_this<SharedCore> {
 public:
  static std::shared_ptr<SharedCore> create(std::size_t limit_bytes);
  static std::shared_ptr<SharedCore> attach(int descriptor, bool writable);

  SharedBlock allocate(std::size_t bytes);
  SharedHandle share(std::uint32_t head, std::size_t bytes, bool until_opened);
  SharedBlock open(const SharedHandle& handle, bool writable);
  void drop(std::uint32_t head) noexcept;

  std::size_t reap();
  std::size_t trim();
  SharedStatistics statistics() const;

  // relaxed: a flag that others may see later.
  void close() noexcept { closed_.store(true, base::relaxed); }
  bool closed() const noexcept { return closed_.load(base::relaxed); }
  const SharedSegment& segment() const noexcept { return segment_; }

  void before_fork() noexcept;
  void after_fork_here() noexcept;
  void after_fork_in_child() noexcept;

 private:
  template <class... Args>
  static std::shared_ptr<SharedCore> make(Args... args);
  template <class... Args>
  explicit SharedCore(Args... args) : segment_{args...} {}
  ~SharedCore();
  static void retire(SharedCore* core);

  static constexpr unsigned kNone = ~0u;
  struct SlotLock {
    unsigned slot = kNone;
    void* anchor = nullptr;  // lasts as long as this does
  };

  bool is_part() const noexcept { return own_.slot != kNone; }
  void check_usable() const;
  SharedClaim claim(std::uint32_t granules);
  unsigned courier();
  SlotLock take_slot(SlotUse use);
  void leave(SlotLock& taken) noexcept;
  void set_slot(unsigned slot, SlotUse use) noexcept;
  void reclaim(unsigned slot) noexcept;
  bool has_gifts() const;

  SharedSegment segment_;
  SlotLock own_;
  SlotLock courier_;  // holds what is in transit; taken when first needed
  SlotLock childs_;  // between before_fork and after it

  mutable std::mutex mutex_;  // after that of the registry, where both are taken
  std::unordered_map<std::uint32_t, std::uint64_t> held_;  // by head

  base::atomic<bool> closed_{false};
  // relaxed, all of them: counts that nothing follows from.
  base::atomic<std::uint64_t> n_alloc_{0}, n_open_{0}, n_stale_{0}, n_exhausted_{0}, n_reaped_{0}, reclaimed_{0};
};

}  // namespace tailrace::pool
