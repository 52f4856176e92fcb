// runtime.hpp -- the C struct behind `_core.RuntimeCore`: a scheduler, a ledger, the runs in flight.
//
// What      Admission, accounting, waiting for quiet, and driving a virtual runtime.
// Why       One ledger for the five ends: submitted = ok + failed + cancelled + rejected + timed_out + in_flight.
// Threads   Under the GIL, but for the words of the ledger that `wait_quiet` sleeps on.
#pragma once

#include <array>

#include "bindings.hpp"
#include "gil_gate.hpp"
#include "step.hpp"
#include "tailrace/base/outcome.hpp"
#include "tailrace/sched/scheduler.hpp"

namespace tailrace::bindings {

struct RunBlock;

// Costs of submitted callables, by code object (or by the callable itself): a small direct-mapped table.
class CostTable {
 public:
  Cost& of(PyObject* fn) noexcept;

 private:
  struct Entry {
    const void* key = nullptr;
    Cost cost;
  };
  std::array<Entry, 256> entries_{};
};

struct Ledger {  // of root runs and submitted tasks
  std::uint64_t submitted = 0;
  std::array<std::uint64_t, base::kOutcomeCount> ended{};
  std::uint64_t nested = 0;  // runs started by steps of this runtime; not part of the sum
  std::uint64_t late = 0;    // bodies that ended after their run had
  std::int64_t in_flight = 0;
};

struct RuntimeState {
  RuntimeState(PyInterpreterState* interpreter, sched::SchedulerOptions options);

  GilKeeper keeper;
  sched::Scheduler scheduler;
  Ledger ledger;
  CostTable costs;
  RunBlock* first_run = nullptr;  // all blocks in use
  std::int64_t live = 0;          // runs not yet fired and tasks not yet ended: what `drain` waits for
  int guest_slots;
  int waiting_workers = 0;        // workers whose body waits for other work
  int long_bodies = 0;            // workers in a long body that keeps the gate closed
  int stand_ins = 0;              // threads that take from the lane for them
  base::atomic<std::uint32_t> quiet{0};  // bumped when `live` falls to zero
  int drainers = 0;               // who may sleep on it; to wake nobody is a system call too
  PyObject* poll = nullptr;       // virtual runtime: the event loop's turn
};

struct RuntimeObject {
  PyObject_HEAD
  PyObject* name;
  PyObject* weakrefs;
  PyObject* memory_pool;  // a PoolObject, of `tr.scratch`; null until it is first used
  RuntimeState* state;
  std::int64_t max_pending;
  bool closed;
  bool is_virtual;
  bool debug;      // every body on the thread that calls, in order: no workers

  sched::Scheduler& scheduler() noexcept { return state->scheduler; }
  std::int64_t now_ns() const noexcept { return state->scheduler.clock().now_ns(); }
};

extern PyTypeObject* runtime_type;

// Does this thread run a body under `runtime`, or its event loop an async step?
bool inside_step_of(RuntimeObject* runtime) noexcept;

// Counts a root piece of work in, or refuses it with an exception set. Work that a step of the same runtime starts
// is not counted as root: `*nested` says so, and it is never refused for being too much.
bool admit(RuntimeObject* runtime, bool* nested);
void count_end(RuntimeObject* runtime, base::Outcome outcome, bool nested);
void live_begun(RuntimeObject* runtime);
void live_ended(RuntimeObject* runtime);

// Drives a virtual runtime until `done()` or `limit_ns`; false with an exception set (Stalled, KeyboardInterrupt).
template <class Done>
bool drive_until(RuntimeObject* runtime, std::int64_t limit_ns, Done&& done);
// Does the next thing, advancing time up to `limit_ns`: 1 did something, 0 idle until the limit, -1 exception,
// -2 nothing will ever happen by itself.
int drive_step(RuntimeObject* runtime, std::int64_t limit_ns);
void raise_stalled(RuntimeObject* runtime);
// Adds what the scheduler has counted, by the names of sched/statistics.hpp.
void add_scheduler_statistics(PyObject* dict, const sched::Statistics& s);

template <class Done>
bool drive_until(RuntimeObject* runtime, std::int64_t limit_ns, Done&& done) {
  while (!done() && runtime->now_ns() < limit_ns) {
    const int did = drive_step(runtime, limit_ns);
    if (did == -1) return false;
    if (did == -2) return raise_stalled(runtime), false;
  }
  return true;
}

// A thread that is not one of the scheduler's runs bodies only with a slot, so that not all callers do at once.
class GuestSlot {
 public:
  explicit GuestSlot(RuntimeObject* runtime);
  void leave() noexcept;
  bool granted() const noexcept { return granted_; }
  // Around a long body or a wait: the guest is not at short work meanwhile. May nest.
  void step_out() noexcept;
  void step_in() noexcept;

 private:
  GuestRoom& room() noexcept { return runtime_->state->keeper.guests; }

  RuntimeObject* runtime_;
  GuestSlot* outer_;
  bool granted_;
  bool counted_;
  int out_ = 0;
};

extern thread_local GuestSlot* current_guest;  // the one that counts for what this thread runs now

}  // namespace tailrace::bindings
