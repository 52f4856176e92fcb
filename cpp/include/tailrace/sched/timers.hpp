// timers.hpp -- deadlines, fired in order by one spare thread or by whoever drives a virtual runtime.
//
// What      The timer wheel behind a mutex.
// Why       Workers may all be inside long bodies; a deadline must fire all the same. The thread exists only once
//           a timer was armed, sleeps until the next one, and never runs steps.
// Threads   arm, cancel: any thread. fire_due: one caller at a time (the spare thread, or the virtual driver).
#pragma once

#include <cstdint>
#include <mutex>

#include "tailrace/base/clock.hpp"
#include "tailrace/queue/timer_wheel.hpp"

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
  struct Node : queue::TimerNode {
    explicit Node(Timer& of) : timer{of} {}
    Timer& timer;
  };
  Node node_{*this};
};

class Timers {
 public:
  // Arms `timer`; true when whoever sleeps until the next deadline would sleep too long: wake it.
  bool arm(Timer& timer, std::int64_t deadline_ns);

  // True when the timer will not fire any more; false when it has fired, fires now, or was never armed.
  bool cancel(Timer& timer);

  // Fires all that is due at `now_ns`; returns how many.
  int fire_due(std::int64_t now_ns);

  std::int64_t next_deadline_ns() const;
  // For who will sleep until the next deadline; and when nobody could be woken after all.
  std::int64_t sleep_until_ns();
  void nobody_sleeps();
  std::size_t size() const;

 private:
  mutable std::mutex mutex_;
  mutable queue::TimerWheel wheel_;  // asking it for the next deadline may look that up and note it
  std::uint64_t armed_ = 0;
  std::int64_t sleeps_until_ns_ = base::kNever;
};

}  // namespace tailrace::sched
