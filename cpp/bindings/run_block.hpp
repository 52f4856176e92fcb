// run_block.hpp -- one run of a Python plan: values, records, the error, and the way to a worker.
//
// What      A flow::Run with what Python needs beside it, in one block that its plan keeps for the next run.
// Why       A run of ten short steps costs little more than ten calls: no object but this is made.
// Threads   Under the GIL, but for flow::Run itself. Every participant holds a reference of the run.
#pragma once

#include <algorithm>
#include <array>
#include <memory>
#include <vector>

#include "bindings.hpp"
#include "frame.hpp"
#include "in_order.hpp"
#include "plan.hpp"
#include "runtime.hpp"
#include "tailrace/flow/run.hpp"
#include "tailrace/sched/item.hpp"
#include "tailrace/sched/timers.hpp"

namespace tailrace::bindings {

struct NativeCell;   // native_step.hpp
struct TokenObject;  // bind_token.cpp
struct EachPart;     // each_part.hpp

// What a body raised, and where.
struct Failure {
  PyObject* error;      // owned
  PyObject* traceback;  // owned, as it was then; null if there was none
  int node;             // by given number
  Py_ssize_t item;      // of tr.each; -1: the node itself
};

struct NodeRecord {
  std::int64_t started_ns = 0;  // 0: never started
  std::int64_t ended_ns = 0;
  const char* thread = nullptr;
  base::Outcome outcome = base::Outcome::kPending;
};

struct RunBlock final : flow::Host {
  // The invitation to a worker: it joins the run and works until nothing is ready. A run has one at most; it has a second
  // ticket in the lane only if its priority was changed, and the one of the wrong priority is then dropped.
  struct Ticket final : sched::Item {
    explicit Ticket(RunBlock& b) : block{b} {}
    void run(sched::Worker* worker) override;
    void complete(base::Outcome outcome) override;
    void drop() override;
    bool take();  // it leaves the lane; false: the invitation stands on another ticket, or was taken with one
    RunBlock& block;
    bool queued = false;
  };
  struct Deadline final : sched::Timer {
    explicit Deadline(RunBlock& b) : block{b} {}
    void fire() override;
    RunBlock& block;
  };

  RunBlock(PlanObject* plan, void* memory, PyObject** values, NodeRecord* records);

  flow::Run run;
  Ticket ticket;                     // the run's own; further ones are made when it is queued at another priority
  Deadline deadline;
  PlanObject* plan;                  // owned while in use
  RuntimeObject* runtime = nullptr;  // owned while in use
  PyObject* context = nullptr;       // the caller's, copied for every attempt
  PyObject** values;                 // arguments, then results by given number
  NodeRecord* records;               // by given number
  std::size_t bytes = 0;             // of all of it
  NativeCell* cells = nullptr;       // by given number; only of a plan with native steps
  std::vector<Failure> failures;     // the one that ended the run first
  PyObject* callbacks = nullptr;     // list, until the run has ended
  TokenObject* tokens = nullptr;  // async steps that are not finished
  EachPart* parts = nullptr;         // its tr.each nodes that have begun; history() shows their items
  EachPart* open_parts = nullptr;    // those with items to take
  PyObject* loop = nullptr;          // of async steps; null: the runtime's own
  std::int64_t deadline_ns = base::kNever;
  double deadline_s = 0;
  std::unique_ptr<InOrder> in_order;  // in a debugging runtime, while it runs
  std::int64_t started_ns = 0;
  std::int64_t service_ns = -1;      // of its bodies, but for blocking ones; -1: none has begun
  std::array<std::uint8_t, sched::kPriorities> queued{};  // tickets in the lane, by their priority
  sched::Priority priority = sched::Priority::kNormal;
  bool invited = false;              // a ticket of this priority is in the lane, and counts
  bool nested = false;
  bool retrieved = false;            // somebody has seen how it ended
  bool armed = false;                // the deadline timer holds a reference
  bool begun = false;                // its roots are ready, launched or running
  bool has_handle = false;           // a Run object, which logs what nobody asked for when it goes
  bool has_fired = false;
  RunBlock* next = nullptr;          // in the runtime's list, or in the plan's free list
  RunBlock* previous = nullptr;

  void launch(flow::Run& run, flow::NodeIndex node) override;
  void offered(flow::Run& run, flow::NodeIndex top, std::uint32_t count, sched::Worker* worker) override;
  void settled(flow::Run& run, base::Outcome outcome) override;
  void fired(flow::Run& run) override;
  void released(flow::Run& run) override;

  bool done() const noexcept { return run.ending.outcome() != base::Outcome::kPending; }
  // Is there something that another thread could do: a ready node, an item that nobody has taken?
  bool has_work() noexcept;
};

// Takes over what a body has raised: it ends the run, or has come while others of the run still ran after it had failed.
void keep_failure(RunBlock& block, PyObject* error, int node, Py_ssize_t item);
void clear_failures(RunBlock& block);
// The name of a step, or of an item of tr.each, in errors and in history(): a new reference, or null.
PyObject* item_label(const RunBlock* block, int node, Py_ssize_t item);
// What its failure settles the run as: an interrupt is a cancel.
base::Outcome outcome_of(const RunBlock& block);
bool is_interrupted(const RunBlock& block);

// Makes a run of `plan`, admitted and counted, with `references` + 1 references; null with an exception set.
// `args` are borrowed.
RunBlock* open_block(PlanObject* plan, RuntimeObject* runtime, PyObject* args, long priority, double deadline_s,
                     std::uint32_t references);

// The body of every node of a Python plan.
base::Verdict run_step(flow::Run& run, flow::NodeIndex node, void* arg, sched::Worker* worker);

// Invites a worker to the run.
void post_ticket(RunBlock* block);

// From now on the run is queued at this priority; if it is queued already, it changes its place. False when it had ended.
bool set_priority(RunBlock* block, sched::Priority priority);

// What this thread may do for a run, one body after the other; asked before each.
struct Pass {
  std::int64_t until_ns = base::kNever;          // monotonic: each body must be known to fit before it
  sched::Worker* worker = nullptr;               // whose permit must last
  std::int64_t until_service_ns = base::kNever;  // then other runs may go first, if there are any
  bool allows(const RunBlock& block, const StepObject& step) const;
};
extern thread_local Pass current_pass;

// Where the last body of this thread ended: the next one of the same pass starts there. 0: ask the clock.
extern thread_local std::int64_t boundary_ns;

// A body that has run: its value (owned), or null with an exception set; and when it ended.
struct Attempt {
  PyObject* value;
  std::int64_t ended_ns;  // virtual runtime: with the cost of the step
};
// Calls the body of `spec` with its arguments, the first replaced by `item` unless that is null.
Attempt attempt(RunBlock& block, const NodeSpec& spec, PyObject* item, NodeRecord& record, sched::Worker* worker);

// Works on this thread while each next step is known to fit before `until_ns` (monotonic); the rest goes to a worker.
void help_until(RunBlock* block, flow::NodeIndex node, std::int64_t until_ns);

// On a thread that is not a worker's: goes on with `node` and what follows while it is short, leaves the rest to
// workers.
void go_on_shortly(RunBlock* block, flow::NodeIndex node);

// Starts what can start here without waiting: on an event loop's thread a short plan runs at once.
void start_block(RunBlock* block, bool on_loop);

// Waits for the run, helping. `deadline_ns` (monotonic, or virtual): 1 ended, 0 too late, -1 exception set.
int wait_block(RunBlock* block, std::int64_t deadline_ns, bool help);

// The value (a new reference), or null with the run's error set.
PyObject* take_result(RunBlock* block);
// Sets the exception that an awaiter of a run that did not end well gets.
void raise_ending(RunBlock* block);

// A failure that nobody has seen goes to the log, once.
void log_unseen(RunBlock* block);

// Settles as cancelled; false when it had ended.
bool cancel_block(RunBlock* block);

// Tokens (bind_token.cpp): starts the async node `node` on its loop, or an item of it if it is a tr.each; tells the
// started ones that the run has ended.
void launch_async(RunBlock* block, flow::NodeIndex node, EachPart* part = nullptr, Py_ssize_t item = -1);
void cancel_tokens(RunBlock* block);

}  // namespace tailrace::bindings
