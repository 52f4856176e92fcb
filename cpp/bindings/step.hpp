// step.hpp -- a Python step: its body and what is learnt about its cost.
//
// What      The C struct behind `_core.Step`, and `Cost`, a running estimate of a body's duration.
// Why       Whether to wake a worker, to open the gate or to help under a deadline is decided by what a body costs.
// Threads   Under the GIL; the estimates are single words that a reader elsewhere may see a moment late.
#pragma once

#include "bindings.hpp"
#include "tailrace/metrics/histogram.hpp"

namespace tailrace::bindings {

inline constexpr std::int64_t kShortNs = 50'000;  // what may run on an event loop's thread, or after a blocking step
// From here on a body opens the gate: another worker then waits for the GIL, which is only worth its wake (22 us) and
// the turns at every GIL release if the body lets go of the GIL for long.
inline constexpr std::int64_t kLongNs = 200'000;

enum class StepKind : int { kSync = 0, kAsync = 1, kBlocking = 2 };

struct Cost {
  std::int64_t mean_ns = -1;  // -1: unknown
  std::int64_t high_ns = 0;   // a decaying maximum: an upper estimate
  std::uint64_t calls = 0;

  void learn(std::int64_t ns) noexcept {
    ++calls;
    mean_ns = mean_ns < 0 ? ns : mean_ns + (ns - mean_ns) / 8;
    high_ns = ns > high_ns ? ns : high_ns - (high_ns - ns) / 64;
  }
  bool known() const noexcept { return calls >= 2; }
  bool opens_gate() const noexcept { return !known() || mean_ns >= kLongNs; }
  // Fits, with what was learnt, into `ns`.
  bool fits(std::int64_t ns) const noexcept { return known() && high_ns < ns; }
};

struct StepObject {
  PyObject_HEAD
  PyObject* fn;
  PyObject* name;
  int kind;
  double virtual_cost_s;
  Cost cost;
  std::uint64_t failures;
  metrics::Histogram* histogram;

  void record(std::int64_t ns, bool failed) {
    cost.learn(ns);
    if (failed) ++failures;
    histogram->record(static_cast<std::uint64_t>(ns < 0 ? 0 : ns));
  }
};

extern PyTypeObject* step_type;

}  // namespace tailrace::bindings
