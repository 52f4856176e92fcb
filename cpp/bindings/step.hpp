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

// What a body costs when it has the interpreter to itself. A duration that was measured while another worker came in
// says more about their turns at the GIL than about the body: learning from it would make short bodies look long, open
// the gate for them, and so keep itself true (seen: a recommender at half its throughput).
struct Cost {
  // `clean`: nobody else came in meanwhile.
  void learn(std::int64_t ns, bool clean) noexcept {
    ++calls;
    high_ns = ns > high_ns ? ns : high_ns - (high_ns - ns) / 64;
    if (!clean) return void(++dirty_in_a_row);
    dirty_in_a_row = 0;
    if (clean_calls < kWindow) ++clean_calls;
    // An outlier counts for at most eight times what was known.
    const std::int64_t sample = mean_ns < 0 || ns < 8 * mean_ns + 1000 ? ns : 8 * mean_ns + 1000;
    mean_ns = mean_ns < 0 ? sample : mean_ns + (sample - mean_ns) / clean_calls;
  }
  bool known() const noexcept { return clean_calls >= 2; }
  // Another worker could do something useful meanwhile, as far as is known.
  bool is_long() const noexcept { return !known() || mean_ns >= kLongNs; }
  // ... and this call lets it in: now and then one does not, to be measured alone.
  bool opens_gate() const noexcept { return is_long() && dirty_in_a_row < (known() ? kProbeAfter : 1); }
  // Fits, with what was learnt, into `ns`.
  bool fits(std::int64_t ns) const noexcept { return calls >= 2 && high_ns < ns; }

  std::int64_t mean_ns = -1;  // -1: unknown
  std::int64_t high_ns = 0;   // a decaying maximum of all: an upper estimate
  std::uint64_t calls = 0;
  int clean_calls = 0;    // up to kWindow
  int dirty_in_a_row = 0;
  static constexpr int kWindow = 8;
  static constexpr int kProbeAfter = 16;
};

struct NativeCall;  // native_step.hpp

struct StepObject {
  PyObject_HEAD
  PyObject* fn;
  PyObject* name;
  int kind;
  double virtual_cost_s;
  Cost cost;
  std::uint64_t failures;
  metrics::Histogram* histogram;
  NativeCall* native;  // owned; null for a step whose body is Python

  void record(std::int64_t ns, bool failed, bool clean) {
    cost.learn(ns, clean);
    if (failed) ++failures;
    histogram->record(static_cast<std::uint64_t>(ns < 0 ? 0 : ns));
  }
};

extern PyTypeObject* step_type;

}  // namespace tailrace::bindings
