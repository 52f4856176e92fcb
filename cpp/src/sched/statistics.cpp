#include "tailrace/sched/statistics.hpp"

#include "tailrace/sched/scheduler.hpp"

namespace tailrace::sched {

WorkerStatistics Worker::statistics() const {
  WorkerStatistics s;
  s.name = name_;
  s.injected = counters_.injected.read();
  s.items = items_run();
  s.steals = counters_.steals.read();
  s.steal_attempts = counters_.steal_attempts.read();
  s.parks = counters_.parks.read();
  s.wakes = counters_.wakes.read();
  s.spins = counters_.spins.read();
  s.spins_paid = counters_.spins_paid.read();
  s.gate_entries = counters_.gate_entries.read();
  s.busy_ns = static_cast<std::int64_t>(counters_.busy_ns.read());
  const std::int64_t since = busy_since_ns_.load(base::relaxed);  // relaxed: a recent value
  if (since != base::kNever) s.busy_ns += base::monotonic_ns() - since;
  return s;
}

Statistics Scheduler::statistics() const {
  Statistics s;
  const Crew::Counts crew = crew_.counts();
  s.workers = worker_count();
  s.threads = crew.threads;
  s.spares = crew.threads - crew.active;
  s.blocked = crew.blocked;
  for (const auto& worker : workers()) {
    s.per_worker.push_back(worker->statistics());
  }
  s.lanes = lane_depths();
  s.searching = idle_.searching();
  s.sleeping = idle_.sleeping();
  s.timers_armed = watch_.timers().armings();
  s.blocking = blocking_.statistics();
  return s;
}

}  // namespace tailrace::sched
