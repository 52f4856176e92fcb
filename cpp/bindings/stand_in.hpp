// stand_in.hpp -- who takes from the gated lane while every worker sits in a body that waits for other work.
//
// What      A thread of the blocking lane that runs what is ready until a worker is back.
// Why       What a waiting body waits for may need a worker, and the body itself may hold locks, so it must not run
//           strangers' steps. Without this a step that calls a workflow could wait for itself on one worker.
// Threads   Under the GIL, as every push to the lane is: none is missed between a look and a sleep.
#pragma once

#include "runtime.hpp"

namespace tailrace::bindings {

// This thread runs, or ran, nothing of its own: it is a worker of `runtime` whose body waits, or a stand-in.
void begin_standing_still(RuntimeObject* runtime, bool is_worker);
void end_standing_still(RuntimeObject* runtime, bool is_worker);

// After an item was pushed. The common case is one comparison.
void relieve(RuntimeObject* runtime);

extern thread_local RuntimeObject* standing_in_for;  // on a stand-in's thread, else null

}  // namespace tailrace::bindings
