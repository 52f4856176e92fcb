// run.hpp -- one request on its way through a plan.
//
// What      Which steps are ready, who may run them, and how the run ends. A block of counters beside a shared plan.
// Why       A run must cost little more than its steps: no set-up pass (counters arm themselves as they fire), no atomic
//           on an edge into a node with one predecessor, the first ready successor continues in place.
// Threads   work, finish, settle, wait: any participant that holds a reference. begin: who started the run, once.
//           Skipped steps still fire, so counters end armed and a failed or cancelled run leaks nothing.
// Checked   tests/model/run.cpp, tests/cpp/flow/test_run.cpp, tests/stress/scheduler.cpp.
#pragma once

#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>

#include "tailrace/base/cache_line.hpp"
#include "tailrace/base/random.hpp"
#include "tailrace/flow/join.hpp"
#include "tailrace/flow/plan.hpp"

namespace tailrace::flow {

// What a run needs from around it. Calls come from participants of the run.
class Host {
 public:
  // Starts a Kind::kLaunch node elsewhere; Run::finish is called for it later, once.
  virtual void launch(Run& run, NodeIndex node) = 0;
  // `top` and those linked below it (`count` in all) were put on the ready stack; others could help.
  virtual void offered(Run& run, NodeIndex top, std::uint32_t count, sched::Worker* worker) = 0;
  // The outcome is fixed and about to be announced (a host that calls strangers does so before); nodes may still be
  // running. Once.
  virtual void settled(Run& run, base::Outcome outcome) = 0;
  // Every node has fired. Once; the run is then only held by those who still have a reference.
  virtual void fired(Run& run) = 0;
  // Nobody holds the run any more.
  virtual void released(Run& run) = 0;

  base::Random* random = nullptr;  // virtual runtime: the order among ready nodes is drawn from it

 protected:
  ~Host() = default;
};

class Run {
 public:
  // `memory` has memory_bytes(plan) bytes, aligned to 8, and outlives the run.
  Run(const Plan& plan, Host& host, void* memory) noexcept;
  Run(const Run&) = delete;
  Run& operator=(const Run&) = delete;
  static std::size_t memory_bytes(const Plan& plan) noexcept { return plan.size() * (sizeof(Counter) + sizeof(Link)); }

  // Opens the block for a new run, with `references` of them.
  void open(std::uint32_t references) noexcept;

  // Makes the roots ready and returns one to go on with (kNoNode when all were launched or offered).
  NodeIndex begin(sched::Worker* worker);

  // Runs `node` and whatever becomes ready after it, then what lies on the ready stack, until nothing does.
  // `allowed(node)` is asked before each body; when it says no, the node goes back on the stack and work ends.
  template <class Allowed>
  void work_while(NodeIndex node, sched::Worker* worker, Allowed&& allowed) {
    for (;;) {
      if (node == kNoNode && (node = take_ready()) == kNoNode) return;
      if (ending.is_open() && !allowed(node)) return give_back(node);
      node = step(node, worker);
    }
  }
  void work(NodeIndex node, sched::Worker* worker) {
    while (node != kNoNode || (node = take_ready()) != kNoNode) node = step(node, worker);
  }

  // One step of `work`: runs `node` and returns a successor to go on with, or kNoNode.
  NodeIndex step(NodeIndex node, sched::Worker* worker);

  // A ready node from the stack, or kNoNode.
  NodeIndex take_ready();

  // A launched node has ended: fires it and returns a successor to go on with, or kNoNode.
  NodeIndex finish(NodeIndex node, bool failed, sched::Worker* worker);

  // Puts a ready node on the stack for others.
  void offer(NodeIndex node, sched::Worker* worker);

  // Fixes the outcome and wakes the waiters; false when it was fixed before.
  bool settle(base::Outcome outcome);
  // The same for a step that threw: settles as failed, with `error`, unless the run is settled.
  void fail(std::exception_ptr error);
  // What the step that failed the run threw, or null. Once the outcome is announced.
  const std::exception_ptr& error() const noexcept { return error_; }

  void retain() noexcept { references_.fetch_add(1, base::relaxed); }  // relaxed: the caller holds one already
  void release();

  bool has_ready() const noexcept { return !ready_.empty(); }
  const Plan& plan() const noexcept { return plan_; }
  Host& host() noexcept { return host_; }

  Ending<> ending;
  void* request = nullptr;  // of whoever starts runs, for the steps (flow/step.hpp)

 private:
  using Counter = JoinCounter<>;
  using Link = ReadyStack<>::Link;

  void conclude(base::Outcome outcome);
  NodeIndex fire(const Node& node, sched::Worker* worker);
  NodeIndex take_random();
  void give_back(NodeIndex node) { ready_.push(node, node); }

  const Plan& plan_;
  Host& host_;
  Counter* counters_;
  ReadyStack<> ready_;
  base::atomic<std::uint32_t> sinks_left_{0};
  base::atomic<std::uint32_t> references_{0};
  std::exception_ptr error_;  // written by who fixed the outcome, before it announces it
};

}  // namespace tailrace::flow
