// blocking_lane.hpp -- threads for bodies that block: as many as there is work, up to a limit.
//
// What      First in, first out; a thread is made when an item comes and none is idle, and leaves after a quiet while.
// Why       A sleep or a socket read must not hold a scheduler slot. Twenty requests that each wait 20 ms take 20 ms.
// Threads   submit, stop_begin, stop_wait, statistics: any thread. returning: one of the lane's own.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "tailrace/sched/item.hpp"
#include "tailrace/sched/thread.hpp"

namespace tailrace::sched {

struct ThreadHooks {
  std::function<void()> on_start;  // on the new thread, before its first item
  std::function<void()> on_stop;   // on the thread, after its last
};

struct BlockingStatistics {
  std::int64_t threads = 0;
  std::int64_t idle = 0;
  std::int64_t queued = 0;
  std::int64_t peak = 0;  // most threads at once
};

class BlockingLane {
 public:
  BlockingLane(std::string name, int max_threads, ThreadHooks hooks, std::int64_t keep_idle_ns = 10'000'000'000);
  BlockingLane(const BlockingLane&) = delete;
  BlockingLane& operator=(const BlockingLane&) = delete;
  ~BlockingLane();

  // Queues `item`; false when the lane is stopped, or has no thread and cannot make one (the caller then completes it).
  bool submit(Item* item);

  // On a thread of this lane, at the end of an item: it is about to ask for the next, so no thread need be made for it.
  void returning();

  // Refuses new items from now on; completes the queued ones as cancelled if asked to, else they still run.
  void stop_begin(bool cancel_queued);
  // Waits until `deadline_ns` (monotonic) for the threads to end; true when all have.
  bool stop_wait(std::int64_t deadline_ns);
  std::vector<std::string> late() const;  // the names of threads that have not ended

  BlockingStatistics statistics() const;

 private:
  void serve();
  void reap();

  const std::string name_;
  const int max_threads_;
  const ThreadHooks hooks_;
  const std::int64_t keep_idle_ns_;

  mutable std::mutex mutex_;
  std::condition_variable wake_;
  std::condition_variable gone_;  // all threads have left, or are on their way out
  std::deque<Item*> queue_;
  std::vector<Thread> threads_;  // all that were made and not yet joined
  int alive_ = 0;
  int idle_ = 0;
  int returning_ = 0;  // at the end of an item, about to look into the queue
  int peak_ = 0;
  int made_ = 0;
  bool waking_ = false;  // one wake is under way; the woken thread wakes the next, so that a burst costs its caller one
  bool stopping_ = false;
};

}  // namespace tailrace::sched
