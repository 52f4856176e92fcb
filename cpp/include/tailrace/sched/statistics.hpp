// statistics.hpp -- what a scheduler has counted, as plain numbers at one moment.
//
// What      Statistics: the workers one by one, the depth of each lane, threads, searchers, sleepers, timers.
// Why       One place says what is counted and in which unit; Python's `statistics()` and every exporter read it.
// Threads   Any may ask; counts are recent while work goes on, and exact when nothing is in flight.
// Checked   tests/cpp/sched/test_statistics.cpp.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "tailrace/sched/blocking_lane.hpp"
#include "tailrace/sched/item.hpp"

namespace tailrace::sched {

struct WorkerStatistics {
  std::string name;
  std::uint64_t items = 0;           // pieces of work that it has run, closures included
  std::uint64_t injected = 0;        // those of them that came as closures from outside
  std::uint64_t steals = 0;          // items taken from another worker's deque
  std::uint64_t steal_attempts = 0;  // deques looked at for that
  std::uint64_t parks = 0;
  std::uint64_t wakes = 0;
  std::uint64_t spins = 0;  // looks for work before a sleep
  std::uint64_t spins_paid = 0;  // those that found some
  std::uint64_t gate_entries = 0;
  std::int64_t busy_ns = 0;          // from each wake, or find, to the next look in vain; waits at the gate left out
};

// Items that wait: recent values, exact when nobody pushes or takes.
struct LaneDepths {
  std::array<std::int64_t, kPriorities> open{};  // by class
  std::int64_t affine = 0;
  std::int64_t gated = 0;
  std::int64_t deadline = 0;
  std::int64_t late = 0;       // items of the deadline lane that came too late, so far
  std::int64_t injection = 0;  // closures
  std::int64_t deques = 0;     // of the workers, together
};

struct Statistics {
  std::vector<WorkerStatistics> per_worker;  // every slot that was ever in use
  int workers = 0;             // wanted to be runnable
  int threads = 0;             // of workers, spares included
  int spares = 0;              // retired workers that wait to be called up
  int blocked = 0;             // workers inside a body that waits
  int searching = 0;
  int sleeping = 0;
  LaneDepths lanes;
  std::uint64_t timers_armed = 0;  // how often one was, so far
  BlockingStatistics blocking;
};

// One thread that a stop could not wait for.
struct LateThread {
  std::string name;
  std::string body;          // what it is in: "a closure", "an item", "a blocking body"
  std::int64_t for_ns = 0;   // for at least so long
};

// What a stop came to: empty when every thread has ended.
struct StopResult {
  std::vector<LateThread> late;
  std::int64_t closures_left = 0;  // they run when a late thread comes out of its body

  bool ended() const noexcept { return late.empty(); }
  explicit operator bool() const noexcept { return ended(); }
};

}  // namespace tailrace::sched
