// deadline_lane.hpp -- items with deadlines, the earliest first; what comes too late is not run.
//
// What      A few shards (edf_shard.hpp). A pusher chooses one; a worker files what has arrived in all of them and takes the
//           item with the earliest deadline of all.
// Why       Deadlines are met only if they order the queue, and a missed one only costs what it still keeps from others.
// Threads   push, used, sees_work, count: any thread. take: any worker.
// Source    Liu, Layland 1973, "Scheduling Algorithms for Multiprogramming in a Hard-Real-Time Environment".
// Checked   tests/model/edf_shard.cpp, tests/cpp/sched/test_deadline_lane.cpp, tests/stress/lanes.cpp.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>

#include "tailrace/sched/edf_shard.hpp"
#include "tailrace/sched/item.hpp"

namespace tailrace::sched {

class DeadlineLane {
 public:
  // An item with less slack than this goes before open items of high priority.
  static constexpr std::int64_t kUrgentNs = 2'000'000;

  explicit DeadlineLane(int workers) : count_{std::clamp(workers, 1, kMaxShards)}, shards_{new Shard[shards()]} {}

  // `home`: any number; equal ones share a shard.
  void push(Item* item, std::uint32_t home) {
    // [N1] seq_cst: before the push, so that who must see the item sees this ([N2]). relaxed: once true it stays
    if (!used_.load(base::relaxed)) used_.store(true, base::seq_cst);
    waiting_.fetch_add(1, base::relaxed);  // relaxed: a statistic
    shards_[home % shards()].push(item);
  }

  // [N2] seq_cst: who has no such items pays for one look; pairs with [N1].
  bool used() const noexcept { return used_.load(base::seq_cst); }

  // The item with the earliest deadline, if that is not after `limit_ns`; items that are late go on `*late`, linked.
  Item* take(std::int64_t now_ns, std::int64_t limit_ns, Item** late) {
    for (std::size_t i = 0; i < shards(); ++i) shards_[i].file();
    std::uint32_t tried = 0;
    for (;;) {
      std::size_t best = shards();
      for (std::size_t i = 0; i < shards(); ++i) {
        if ((tried >> i & 1) != 0 || shards_[i].earliest_ns() > limit_ns || shards_[i].earliest_ns() == base::kNever) {
          continue;
        }
        if (best == shards() || shards_[i].earliest_ns() < shards_[best].earliest_ns()) best = i;
      }
      if (best == shards()) return nullptr;
      tried |= 1u << best;
      Item* item = shards_[best].take(now_ns, limit_ns, late);
      if (item != nullptr || *late != nullptr) return item;
    }
  }

  // Is there an item to be had? Who has taken one, or filed, asks afterwards and wakes another worker.
  bool sees_work() const noexcept {
    return std::any_of(shards_.get(), shards_.get() + shards(), [](const Shard& shard) { return shard.can_take(); });
  }

  // For stop: calls `end` for each item of which no guard is held.
  template <class End>
  void take_everything(End&& end) {
    for (std::size_t i = 0; i < shards(); ++i) {
      while (shards_[i].can_take()) {
        for (Item* item = shards_[i].take_everything(); item != nullptr;) {
          Item* next = item->next;
          end(item);
          item = next;
        }
      }
    }
  }

  void forget(std::int64_t items) noexcept { waiting_.fetch_sub(items, base::relaxed); }  // relaxed: a statistic
  std::int64_t waiting() const noexcept { return waiting_.load(base::relaxed); }  // relaxed: as above

 private:
  using Shard = BasicEdfShard<Item>;
  static constexpr int kMaxShards = 8;  // a take looks at all of them
  std::size_t shards() const noexcept { return static_cast<std::size_t>(count_); }

  const int count_;
  const std::unique_ptr<Shard[]> shards_;
  alignas(base::kCacheLine) base::atomic<bool> used_{false};
  alignas(base::kCacheLine) base::atomic<std::int64_t> waiting_{0};
};

}  // namespace tailrace::sched
