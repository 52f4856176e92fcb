// statistics.cpp -- the scheduler's counts as a dictionary, by the names of sched/statistics.hpp.
//
// GIL       Held: it makes Python objects. The counts are the workers' own, read while they go on.
// Lifetime  Nothing is kept.
#include "tailrace/sched/statistics.hpp"

#include "pybind.hpp"
#include "runtime.hpp"

namespace tailrace::bindings {

namespace {

py::dict worker_statistics(const sched::WorkerStatistics& worker) {
  py::dict d;
  d["name"] = worker.name;
  d["items"] = worker.items;
  d["injected"] = worker.injected;
  d["steals"] = worker.steals;
  d["steal_attempts"] = worker.steal_attempts;
  d["parks"] = worker.parks;
  d["spins"] = worker.spins;
  d["spins_paid"] = worker.spins_paid;
  d["wakes"] = worker.wakes;
  d["gate_entries"] = worker.gate_entries;
  d["busy_s"] = static_cast<double>(worker.busy_ns) * 1e-9;
  return d;
}

}  // namespace

void add_scheduler_statistics(PyObject* dict, const sched::Statistics& s) {
  const auto d = py::reinterpret_borrow<py::dict>(dict);
  py::list workers;
  for (const auto& worker : s.per_worker) workers.append(worker_statistics(worker));
  d["workers"] = workers;
  d["threads"] = s.threads;
  d["spares"] = s.spares;
  d["blocked"] = s.blocked;
  d["searching"] = s.searching;
  d["sleeping"] = s.sleeping;
  d["timers_armed"] = s.timers_armed;
  py::dict lanes;
  lanes["gated"] = s.lanes.gated;
  lanes["open"] = py::make_tuple(s.lanes.open[0], s.lanes.open[1], s.lanes.open[2]);
  lanes["affine"] = s.lanes.affine;
  lanes["injection"] = s.lanes.injection;
  lanes["deques"] = s.lanes.deques;
  d["lanes"] = lanes;
  py::dict blocking;
  blocking["threads"] = s.blocking.threads;
  blocking["idle"] = s.blocking.idle;
  blocking["queued"] = s.blocking.queued;
  blocking["peak"] = s.blocking.peak;
  d["blocking"] = blocking;
}

}  // namespace tailrace::bindings
