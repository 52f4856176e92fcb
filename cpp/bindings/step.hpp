// step.hpp -- a Python step: its body, what was said of it, and what is learnt about its cost.
//
// What      The C struct behind `_core.Step`.
// Why       Whether to wake a worker, to open the gate or to help under a deadline is decided by what a body costs.
// Threads   Under the GIL.
#pragma once

#include "bindings.hpp"
#include "cost.hpp"
#include "tailrace/metrics/histogram.hpp"

namespace tailrace::bindings {

enum class StepKind : int { kSync = 0, kAsync = 1, kBlocking = 2 };

// Where the user wants a body to run: on whichever thread has it at hand (never worth a wake), or on workers only.
enum class StepPlace : int { kAuto = 0, kHere = 1, kWorker = 2 };

inline constexpr std::int64_t kAtOnceNs =
    1'000;  // a wait that nobody waits for, and not worth its place in a histogram

struct NativeCall;  // native_step.hpp

struct StepObject {
  PyObject_HEAD
  PyObject* fn;
  PyObject* name;
  int kind;
  GilUse gil;
  StepPlace where;
  double virtual_cost_s;
  Cost cost;
  std::uint64_t failures;
  std::uint64_t at_once;           // began within kAtOnceNs of being ready; the others are in `queue_time`
  metrics::Histogram* histogram;   // of durations
  metrics::Histogram* queue_time;  // from ready to begun
  NativeCall* native;  // owned; null for a step whose body is Python

  void record(std::int64_t ns, bool failed, bool clean) {
    cost.learn(ns, clean);
    if (failed) ++failures;
    histogram->record(static_cast<std::uint64_t>(ns < 0 ? 0 : ns));
  }
  void record_queued(std::int64_t ns) {
    if (ns < kAtOnceNs) return void(++at_once);
    queue_time->record(static_cast<std::uint64_t>(ns));
  }

  // Could another thread do something useful beside this body, so that it is worth a wake?
  bool is_helped() const noexcept {
    return where == StepPlace::kAuto ? cost.is_helped(gil) : where == StepPlace::kWorker;
  }
  bool opens_gate() const noexcept { return cost.opens_gate(gil); }
  // May a thread that is no worker begin it, and be done within `ns`?
  bool fits(std::int64_t ns) const noexcept {
    return where == StepPlace::kAuto ? cost.fits(ns) : where == StepPlace::kHere;
  }
};

extern PyTypeObject* step_type;

}  // namespace tailrace::bindings
