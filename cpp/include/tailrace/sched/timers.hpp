// timers.hpp -- deadlines, fired in order by one spare thread or by whoever drives a virtual runtime.
//
// What      An intrusive binary heap of timers behind a mutex.
// Why       Workers may all be inside long bodies; a deadline must fire all the same. The thread exists only once
//           a timer was armed, sleeps until the next one, and never runs steps.
// Threads   arm, cancel: any thread. fire_due: one caller at a time (the spare thread, or the virtual driver).
#pragma once

#include <cstdint>
#include <mutex>
#include <vector>

#include "tailrace/base/clock.hpp"

namespace tailrace::sched {

class Timer {
 public:
  // Called once, outside every lock, at or after the deadline; not called when `cancel` returned true.
  virtual void fire() = 0;

  std::int64_t deadline_ns = base::kNever;

 protected:
  ~Timer() = default;

 private:
  friend class Timers;
  std::size_t place_ = SIZE_MAX;  // its index in the heap
  std::uint64_t order_ = 0;       // equal deadlines fire in the order they were armed
};

class Timers {
 public:
  // Arms `timer`; true when it is now the earliest, so that a sleeping owner has to look again.
  bool arm(Timer& timer, std::int64_t deadline_ns);

  // True when the timer will not fire any more; false when it has fired, fires now, or was never armed.
  bool cancel(Timer& timer);

  // Fires all that is due at `now_ns`; returns how many.
  int fire_due(std::int64_t now_ns);

  std::int64_t next_deadline_ns() const;
  std::size_t size() const;

 private:
  bool earlier(const Timer* a, const Timer* b) const noexcept;
  void put(std::size_t place, Timer* timer) noexcept;
  void sift_up(std::size_t place) noexcept;
  void sift_down(std::size_t place) noexcept;
  void remove_at(std::size_t place) noexcept;

  mutable std::mutex mutex_;
  std::vector<Timer*> heap_;
  std::uint64_t armed_ = 0;
};

}  // namespace tailrace::sched
