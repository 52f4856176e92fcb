// item.hpp -- what the scheduler knows of a piece of work: it can be run, ended without running, or dropped.
//
// What      An intrusive base class of three calls, one link, and what lanes order by.
// Why       Later layers (runs, batches, kernels) bring their own items, and `sched` never has to know them.
// Threads   Exactly one of run, complete, drop is called, once for each time the item was pushed.
#pragma once

#include <cstdint>

#include "tailrace/base/clock.hpp"
#include "tailrace/base/outcome.hpp"

namespace tailrace::sched {

class Worker;

enum class Priority : std::uint8_t { kHigh = 0, kNormal = 1, kLow = 2 };
inline constexpr int kPriorities = 3;
inline constexpr int kLevels = 5;
inline constexpr std::uint8_t kNewLevel = 1;

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
  std::uint8_t level = kNewLevel;  // gated lane: 0 to kLevels - 1, by the service that its run has had (lanes.hpp)
  std::int64_t deadline_ns = base::kNever;  // lanes that go by deadline: the scheduler's clock

 protected:
  ~Item() = default;
};

}  // namespace tailrace::sched
