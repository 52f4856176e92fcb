// watch.hpp -- the spare thread: fires timers, and lets others in when a body that was thought short is not.
//
// What      Sleeps until the next timer; while somebody is inside the gate, looks every few milliseconds.
// Why       Workers may all be inside long bodies; a deadline must fire all the same. The thread exists only once a
//           timer was armed or the gate entered, and never runs steps.
// Threads   arm, cancel: any thread. keep: a worker that has entered the gate. wake, move_thread_to: who stops.
// Checked   tests/model/gate.cpp (the protocol with the permit), tests/stress/scheduler.cpp.
#pragma once

#include <cstdint>
#include <mutex>
#include <string>
#include <vector>

#include "tailrace/base/atomic.hpp"
#include "tailrace/sched/gate_keeper.hpp"
#include "tailrace/sched/idle.hpp"
#include "tailrace/sched/lanes.hpp"
#include "tailrace/sched/thread.hpp"
#include "tailrace/sched/timers.hpp"

namespace tailrace::sched {

class Watch {
 public:
  Watch(std::string name, GatedLane& lane, Idle& idle, GateKeeper& keeper, const base::Clock& clock,
        const base::atomic<bool>& stopping);
  Watch(const Watch&) = delete;
  Watch& operator=(const Watch&) = delete;

  void arm(Timer& timer, std::int64_t deadline_ns);
  bool cancel(Timer& timer) { return timers_.cancel(timer); }
  Timers& timers() noexcept { return timers_; }
  const Timers& timers() const noexcept { return timers_; }

  // A worker has entered the gate: somebody must notice if it never comes out of a body that was thought short.
  void keep();

  // Makes the thread look again; makes the thread, unless the scheduler stops.
  void wake();

  // Adds the thread, if there is one, to those that are to be joined.
  void move_thread_to(std::vector<Thread>& threads);

 private:
  void loop();
  void look_at_gate();

  const std::string name_;
  GatedLane& lane_;
  Idle& idle_;
  GateKeeper& keeper_;
  const base::Clock& clock_;
  const base::atomic<bool>& stopping_;

  Timers timers_;
  std::mutex mutex_;
  Thread thread_;
  bool made_ = false;
  base::atomic<std::uint32_t> word_{0};  // bumped to make the thread look again
  base::atomic<bool> watching_{false};
  std::uint64_t last_closed_ = 0;  // the thread's own, and the next
  int quiet_ = 0;
};

}  // namespace tailrace::sched
