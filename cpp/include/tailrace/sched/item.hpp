// item.hpp -- what the scheduler knows of a piece of work: it can be run, ended without running, or dropped.
//
// What      An intrusive base class of three calls, one link, and a priority class.
// Why       Later layers (runs, batches, kernels) bring their own items, and `sched` never has to know them.
// Threads   Exactly one of run, complete, drop is called, once for each time the item was pushed.
#pragma once

#include <cstdint>

#include "tailrace/base/outcome.hpp"

namespace tailrace::sched {

class Worker;

enum class Priority : std::uint8_t { kHigh = 0, kNormal = 1, kLow = 2 };
inline constexpr int kPriorities = 3;

class Item {
 public:
  Item() = default;
  Item(const Item&) = delete;
  Item& operator=(const Item&) = delete;

  // Does the work; `worker` is null on a thread of the blocking lane. Must not throw; a forced unwind (a thread ended by the interpreter's exit) may pass through.
  virtual void run(Worker* worker) = 0;

  // Ends the work without running it: the scheduler is stopping, or the item came too late.
  virtual void complete(base::Outcome outcome) = 0;

  // Gives the queue's reference back: the work was already done by somebody else.
  virtual void drop() = 0;

  Item* next = nullptr;  // the queue's while the item is in one
  Priority priority = Priority::kNormal;
  bool begun = false;  // part of something that has started: goes before what has not, within its priority

 protected:
  ~Item() = default;
};

}  // namespace tailrace::sched
