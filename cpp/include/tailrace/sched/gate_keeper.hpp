// gate_keeper.hpp -- what stands behind the gate, supplied from above.
//
// What      enter and leave: to get hold of, and let go of, the thing that the gate's permit is for.
// Why       `sched` knows permits; only the bindings know that the thing is the GIL.
// Threads   A worker calls enter and leave on its own thread, in turn.
#pragma once

#include "tailrace/sched/blocking_lane.hpp"  // ThreadHooks

namespace tailrace::sched {

class Worker;

class GateKeeper {
 public:
  virtual ~GateKeeper() = default;
  virtual void worker_started(Worker&) {}   // on the worker's thread, before anything else
  virtual void worker_stopping(Worker&) {}  // on the worker's thread, last
  virtual void enter(Worker&) {}            // may block
  virtual void leave(Worker&) {}
  virtual ThreadHooks thread_hooks() { return {}; }  // for the blocking lane's threads and the watch
};

}  // namespace tailrace::sched
