// run.hpp -- one request on its way through a plan.
//
// What      Which steps are ready, who may run them, and how the run ends. A block of counters beside a shared plan.
// Why       A run must cost little more than its steps: no set-up pass (counters arm themselves as they fire), no atomic
//           on an edge into a node with one predecessor, the first ready successor continues in place; and none of all
//           this while one thread has the run to itself, which runs the plan from front to back.
// Threads   work, finish, settle, wait: any participant that holds a reference. begin, work_alone: who started the run,
//           once. Skipped steps still fire, so counters end armed and a failed or cancelled run leaks nothing.
// Checked   tests/model/run.cpp, tests/model/shared_run.cpp, tests/cpp/flow/test_run.cpp, tests/stress/plans.cpp.
#pragma once

#include <cstddef>
#include <cstdint>
#include <exception>

#include "tailrace/base/cache_line.hpp"
#include "tailrace/base/random.hpp"
#include "tailrace/flow/cancel.hpp"
#include "tailrace/flow/ending.hpp"
#include "tailrace/flow/hand.hpp"
#include "tailrace/flow/join.hpp"
#include "tailrace/flow/plan.hpp"
#include "tailrace/flow/ranked_set.hpp"

namespace tailrace::flow {

// What a run needs from around it. Calls come from participants of the run.
class Host {
 public:
  // Starts a Kind::kLaunch node elsewhere; Run::finish is called for it later, once.
  virtual void launch(Run& run, NodeIndex node) = 0;
  // `count` nodes that others could help with were put on the ready stack; `top` is one of them.
  virtual void offered(Run& run, NodeIndex top, std::uint32_t count, sched::Worker* worker) = 0;
  // The outcome is fixed and about to be announced (a host that calls strangers does so before); nodes may still be
  // running. Once.
  virtual void settled(Run& run, base::Outcome outcome) = 0;
  // Every node has fired. Once; the run is then only held by those who still have a reference.
  virtual void fired(Run& run) = 0;
  // Nobody holds the run any more.
  virtual void released(Run& run) = 0;

  // Asked before every body of a run that minds the time.
  virtual void mind_time(Run&) {}
  // Asked from time to time by a thread that has the run to itself, with what is done: does sharing pay now?
  virtual bool wants_help(Run&, NodeIndex) { return false; }
  // A node wants `plan` run as a part of itself: a new run for it, with one reference; null when that is refused.
  virtual Run* spawn(Run&, NodeIndex, const Plan&) { return nullptr; }

  base::Random* random = nullptr;  // virtual runtime: the order among ready nodes is drawn from it
  bool by_rank = true;  // the most urgent node of a weighted plan goes first; read when a Run is made
  bool oldest_first = false;  // virtual runtime: instead, what became ready first goes first

 protected:
  ~Host() = default;
};

// When a participant shows to others what it has made ready: at once (bodies are long, or of unknown length), or when
// somebody asks (bodies are so short that to show them costs as much as to run them).
enum class Show : std::uint8_t { kAtOnce, kWhenAsked };

class Run {
 public:
  // `memory` has memory_bytes(plan) bytes, aligned to 8, and outlives the run. A run with a `parent` is the part of it
  // that its node `parent_node` has spawned: it ends with the parent, whose node fires when all of the part has.
  Run(const Plan& plan, Host& host, void* memory, Run* parent = nullptr, NodeIndex parent_node = kNoNode) noexcept;
  Run(const Run&) = delete;
  Run& operator=(const Run&) = delete;
  static std::size_t memory_bytes(const Plan& plan) noexcept;

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
      if (is_open() && !allowed(node)) return give_back(node);
      node = step(node, worker);
    }
  }
  void work(NodeIndex node, sched::Worker* worker) {
    while (node != kNoNode || (node = take_ready()) != kNoNode) node = step(node, worker);
  }

  // One step of `work`: runs `node` and returns a successor to go on with, or kNoNode.
  NodeIndex step(NodeIndex node, sched::Worker* worker);

  // Instead of begin and work: the whole plan on this thread, from front to back, while nobody else takes part; no
  // counter is touched. True when the run has ended; false when it is shared from now on, with its ready nodes on the
  // stack, because the host wanted help or a node spawned a part. For plans without launched nodes.
  bool work_alone(sched::Worker* worker);

  // Like `work`, for several threads at nodes of any length. For plans without launched nodes.
  void work_shared(NodeIndex node, sched::Worker* worker, Show show);

  // In a body: runs `plan`, which outlives the run, as a part of `node`. To be returned by the body: kDeferred, or
  // kFailed when the host refuses.
  base::Verdict spawn(NodeIndex node, const Plan& plan);
  // The same for a part that the host has made already.
  base::Verdict defer_to(Run& part);

  // For hosts that take step by step, after a body returned kDeferred: the first nodes of what it has spawned, if it
  // has, go to the part's own stack.
  void offer_part(sched::Worker* worker);

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

  // Those who are told when the run ends otherwise than well (cancel.hpp); a part's are its parent's.
  CancelList& cancel_list() noexcept { return parent_ == nullptr ? cancel_list_ : parent_->cancel_list(); }

  void retain() noexcept { references_.retain(); }
  void release();

  bool has_ready() const noexcept { return ranks_ ? !ranked_.empty() : !ready_.empty(); }
  bool is_open() const noexcept { return root_ending_->is_open(); }
  base::Outcome root_outcome() const noexcept { return root_ending_->outcome(); }
  // May others take part? Only then may they look for ready nodes.
  bool is_shared() const noexcept { return shared_.is_set(); }
  const Plan& plan() const noexcept { return plan_; }
  Host& host() noexcept { return host_; }
  Run* parent() const noexcept { return parent_; }
  NodeIndex parent_node() const noexcept { return parent_node_; }

  Ending<> ending;
  void* request = nullptr;  // of whoever starts runs, for the steps (flow/step.hpp)
  bool minds_time = false;  // Host::mind_time is called before every body; written before the run begins

 private:
  using Counter = JoinCounter<>;
  using Link = ReadyStack<>::Link;
  using Ranked = RankedSet<>;

  struct Batch;

  void conclude(base::Outcome outcome);

  NodeIndex fire(const Node& node, sched::Worker* worker);
  void make_ready(Batch& batch, NodeIndex node);
  NodeIndex go_on_with(Batch& batch, sched::Worker* worker);
  void fire_into(Hand& hand, const Node& node, sched::Worker* worker);
  bool run_body(NodeIndex index, const Node& node, Hand& hand, sched::Worker* worker, Show show);
  void run_part(sched::Worker* worker, Show show);
  bool wait_for_ready() noexcept;
  NodeIndex take_into(Hand& hand, sched::Worker* worker, Show show);
  void show(Hand& hand, std::uint32_t keep, sched::Worker* worker);
  void take_off_sinks(std::uint32_t count, sched::Worker* worker);
  void share_from(NodeIndex next, NodeIndex outstanding, sched::Worker* worker);
  void all_fired(sched::Worker* worker);
  NodeIndex pop_ready();
  NodeIndex take_virtual();
  void give_back(NodeIndex node);

  // Read by all at every node; written once a run.
  const Plan& plan_;
  Host& host_;
  Run* parent_;
  const Ending<>* root_ending_;
  NodeIndex parent_node_;
  SharedMark<> shared_;
  // How many participants look for work in vain. relaxed, all: a hint; a node that is not shown is run by its holder.
  base::atomic<std::int32_t> asking_{0};
  const bool ranks_;
  Counter* counters_;

  char apart_[base::kCacheLine];  // what follows moves between the participants' caches
  ReadyStack<> ready_;
  Ranked ranked_;
  base::atomic<std::uint32_t> sinks_left_{0};
  References<> references_;
  CancelList cancel_list_;
  std::exception_ptr error_;  // written by who fixed the outcome, before it announces it
};

}  // namespace tailrace::flow
