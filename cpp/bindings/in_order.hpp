// in_order.hpp -- runs of a debugging runtime: every body on the caller's thread, one after the other.
//
// What      Instead of tickets, launches and helpers: a loop over the run's ready nodes, the one called first goes first.
// Why       Breakpoints, pdb, coverage and tracebacks work where all is one thread and one stack.
// Threads   Under the GIL. A run has one loop at a time, on the thread that started it; an async step on a running event
//           loop interrupts it, and the step's end goes on with it there.
// Lifetime  Made by start_in_order, freed with the run's last node.
#pragma once

#include <vector>

#include "tailrace/flow/plan.hpp"

namespace tailrace::bindings {

struct RunBlock;

struct InOrder {
  std::vector<flow::NodeIndex> ready;  // also what others would launch
  bool looping = false;
};

// Starts the run, and runs what can be run: all of it, but for what comes after an async step on a running loop.
void start_in_order(RunBlock* block);

// The end of a launched node made `node` ready (or kNoNode): the loop that is at it sees to that, or this call is it.
void go_on_in_order(RunBlock* block, flow::NodeIndex node);

}  // namespace tailrace::bindings
