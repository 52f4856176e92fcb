// permit_lane.hpp -- a gated lane of width n: at most n of its items run at once, on any workers.
//
// What      n carriers, each an item of the open lane that runs one of this lane's items, and goes on with the next for a
//           bounded slice. Then it goes behind what else waits in the open lane.
// Why       A licence, a device or a library admits a few at a time. A semaphore would let workers wait; here what may
//           not run yet waits, and workers do other work.
// Threads   push, statistics: any thread.
// Checked   tests/model/permits.cpp (the protocol, with mutants), tests/cpp/sched/test_permit_lane.cpp, tests/stress/lanes.cpp.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "tailrace/base/atomic.hpp"
#include "tailrace/sched/item.hpp"
#include "tailrace/sched/permits.hpp"

namespace tailrace::sched {

class Scheduler;

struct GateOptions {
  std::string name = "gate";
  int width = 1;  // items inside at once: 1 .. kMaxGateWidth
  std::int64_t slice_ns = 1'000'000;  // how long a carrier goes on before it lets other work of the open lane in
  std::int64_t max_waiting = 0;  // items that may wait; 0: any number
};
inline constexpr int kMaxGateWidth = 1024;

struct GateStatistics {
  std::int64_t waiting = 0;  // pushed and not yet begun
  std::int64_t inside = 0;  // running, or on their way to a worker
  std::uint64_t refused = 0;
};

class PermitLane {
 public:
  PermitLane(Scheduler& scheduler, GateOptions options);  // Scheduler::make_gate checks the options
  PermitLane(const PermitLane&) = delete;
  PermitLane& operator=(const PermitLane&) = delete;
  ~PermitLane();

  // False when `max_waiting` items wait already: `item` then stays the caller's. An item that is taken runs once, on a
  // worker, first come first served, or is completed as cancelled when the scheduler stops.
  [[nodiscard]] bool push(Item* item);

  const GateOptions& options() const noexcept { return options_; }
  GateStatistics statistics() const noexcept;

 private:
  friend class Scheduler;
  struct Carrier;
  struct Serve;

  void end_waiting();  // for stop

  Scheduler& scheduler_;
  const GateOptions options_;
  std::vector<std::unique_ptr<Carrier>> carriers_;
  BasicPermits<Item, Carrier> permits_;
  base::atomic<std::int64_t> waiting_{0};
  base::atomic<std::int64_t> inside_{0};
  base::atomic<std::uint64_t> refused_{0};
};

}  // namespace tailrace::sched
