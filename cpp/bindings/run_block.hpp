// run_block.hpp -- one run of a Python plan: values, records, the error, and the way to a worker.
//
// What      A flow::Run with what Python needs beside it, in one block that its plan keeps for the next run.
// Why       A run of ten short steps costs little more than ten calls: no object but this is made.
// Threads   Under the GIL, but for flow::Run itself. Every participant holds a reference of the run.
#pragma once

#include <algorithm>
#include <array>

#include "bindings.hpp"
#include "frame.hpp"
#include "plan.hpp"
#include "runtime.hpp"
#include "tailrace/flow/run.hpp"
#include "tailrace/sched/item.hpp"
#include "tailrace/sched/timers.hpp"

namespace tailrace::bindings {

struct TokenObject;  // bind_token.cpp

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
  PyObject* error = nullptr;
  int error_node = -1;
  PyObject* callbacks = nullptr;     // list, until the run has ended
  TokenObject* tokens = nullptr;  // async steps that are not finished
  PyObject* loop = nullptr;          // of async steps; null: the runtime's own
  std::int64_t deadline_ns = base::kNever;
  double deadline_s = 0;
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
};

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

// Tokens (bind_token.cpp): starts the async node `node` on its loop; tells the started ones that the run has ended.
void launch_async(RunBlock* block, flow::NodeIndex node);
void cancel_tokens(RunBlock* block);

}  // namespace tailrace::bindings
