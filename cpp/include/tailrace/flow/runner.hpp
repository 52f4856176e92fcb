// runner.hpp -- runs a plan of native steps on a scheduler; the caller helps.
//
// What      Keeps run blocks of one plan. `run` does it now, with this thread's help; `start` has a worker do it and
//           returns a `RunHandle`; a request, a deadline and a limit on runs in flight are options.
// Why       The way into the scheduler for a C++ service; the Python face has its own host with the same parts.
//           Waking a worker costs more than a small graph, so helpers are called when the plan's learnt cost pays for it.
// Threads   run, start, statistics: any thread, at once. Destruction: not from a worker, when no run is under way and no
//           handle is left; it waits for invitations that are still queued. The scheduler outlives its runners.
//           On a virtual scheduler: the one thread that drives it.
// Checked   tests/cpp/flow/{test_runner,test_native_runs,test_list_schedule}.cpp, tests/stress/{plans,scheduler}.cpp;
//           measured by bench/native/{chain,diamond,tree,random_dag,wavefront,list_schedule}.
#pragma once

#include <cstdint>
#include <exception>
#include <limits>
#include <memory>
#include <mutex>
#include <vector>

#include "tailrace/base/block_source.hpp"
#include "tailrace/flow/run.hpp"
#include "tailrace/flow/run_handle.hpp"
#include "tailrace/flow/step.hpp"
#include "tailrace/pool/scheduler_blocks.hpp"
#include "tailrace/sched/scheduler.hpp"

namespace tailrace::flow {

struct RunOptions {
  // Seconds from the start; then the run is settled as timed out and starts no further step. At least 0.
  double deadline_s = std::numeric_limits<double>::infinity();
  // Called once, on the thread that settles the run, before waiters are told: the place to reply. Steps that run
  // cannot be stopped and may still use the request. Neither may throw or wait.
  void (*on_settled)(void* request, base::Outcome outcome) = nullptr;
  // Called once, last: no step uses the request any more, so it may be freed here.
  void (*on_fired)(void* request) = nullptr;
  // For `run`: gets what the step threw that failed the run. A handle has it as RunHandle::error.
  std::exception_ptr* error = nullptr;
};

// Which ready node goes first on a virtual scheduler; a weighted plan is one whose builder was told weights. On real
// threads it is always the first of these, and among equals the one that became ready last.
enum class Order : std::uint8_t {
  kCriticalPath,  // the most urgent of a weighted plan; else drawn from the scheduler's seed
  kOldestFirst,
  kSeeded,
};

// When a thread of a run shows what others could do. kLearnt: as far as it pays, by what the nodes have cost; the others
// are for measuring and for tests.
enum class Help : std::uint8_t { kLearnt, kWhenAsked, kAtOnce };

struct RunnerOptions {
  std::uint32_t max_in_flight = 0;  // runs that have not fired; more are rejected. 0: no limit
  bool invite_workers = true;  // to runs that are worth a wake; else only who calls run, or waits, does the steps
  base::BlockSource* source = &pool::scheduler_blocks();
  Order order = Order::kCriticalPath;
  Help help = Help::kLearnt;
};

// submitted = ok + failed + cancelled + rejected + timed_out + in_flight. Exact when no run is under way.
struct RunnerStatistics {
  std::uint64_t submitted = 0, ok = 0, failed = 0, cancelled = 0, rejected = 0, timed_out = 0, in_flight = 0;
  std::uint64_t blocks = 0;  // made so far: about as many as there were runs at once
};

class Runner final : private Host {
 public:
  Runner(const Plan& plan, sched::Scheduler& scheduler, RunnerOptions options = {});
  Runner(const Runner&) = delete;
  Runner& operator=(const Runner&) = delete;
  ~Runner();

  // Runs the plan once on this thread and whoever helps; returns how it ended, when no step uses the request any more.
  // kRejected: there are too many in flight, or the scheduler has stopped; nothing was run.
  base::Outcome run() { return run_now(check(nullptr, nullptr), {}); }
  template <class Request>
  base::Outcome run(Request& request, const RunOptions& options = {}) {
    return run_now(check(&request, request_type<Request>()), options);
  }

  // Starts a run on a worker (on this thread, if its lane is full) and returns a handle to it. `request` must live until
  // the run has fired: RunOptions::on_fired, RunHandle::wait_fired.
  RunHandle start() { return start_run(check(nullptr, nullptr), {}); }
  template <class Request>
  RunHandle start(Request& request, const RunOptions& options = {}) {
    return start_run(check(&request, request_type<Request>()), options);
  }

  // In a body of a run by a Runner: runs `body` n times as a part of `node`, once for each item from 0; the item is
  // Run::plan().node(index).given. To be returned by the body, as with Run::spawn; kFailed when parts are nested deeper
  // than kMaxNesting.
  static base::Verdict spawn_each(Run& run, NodeIndex node, std::uint32_t n, Body body, void* arg);
  static constexpr int kMaxNesting = 64;

  RunnerStatistics statistics() const;
  std::int64_t learnt_node_ns() const noexcept { return node_ns_.load(base::relaxed); }  // relaxed: a statistic
  const Plan& plan() const noexcept { return plan_; }

 private:
  friend class RunHandle;
  struct Block;
  struct VirtualEnd;

  void launch(Run&, NodeIndex) override;
  void offered(Run& run, NodeIndex top, std::uint32_t count, sched::Worker* worker) override;
  void settled(Run& run, base::Outcome outcome) override;
  void fired(Run& run) override;
  void released(Run& run) override;
  void end_with_both(Block& block);
  void end(Block& block);
  void mind_time(Run& run) override;
  bool wants_help(Run& run, NodeIndex done) override;
  Run* spawn(Run& run, NodeIndex node, const Plan& plan) override;

  void* check(void* request, const void* type) const;
  base::Outcome run_now(void* request, const RunOptions& options);
  RunHandle start_run(void* request, const RunOptions& options);
  Block* admit(void* request, const RunOptions& options);
  Block* take();
  Block* make_block(const Plan& plan, Block* parent, NodeIndex parent_node);
  void give_block(Block* block) noexcept;
  bool all_home() const;
  bool is_virtual() const noexcept { return scheduler_.options().is_virtual; }

  void begin(Block& block, sched::Worker* worker);
  bool begins_alone(Block& block) const noexcept;
  void work(Block& block, sched::Worker* worker);
  void invite(Block& block);
  void learn(Block& block) noexcept;
  bool help_until(Block& block, Ending<>& end, std::int64_t until_ns);

  void invite_virtual(Block& block);
  void run_virtual(Block& block, sched::Worker& worker);
  void drive(std::int64_t until_ns);

  const Plan& plan_;
  sched::Scheduler& scheduler_;
  const RunnerOptions options_;
  mutable std::mutex mutex_;
  std::vector<Block*> free_;
  std::vector<Block*> all_;
  base::atomic<Block*> spare_{nullptr};  // the last block given back, for the common case of one at a time
  base::atomic<std::int64_t> node_ns_{-1};  // mean cost of a node; -1: not known yet
  base::atomic<std::uint64_t> rejected_{0};
  base::atomic<std::uint32_t> in_flight_{0};  // kept only where there is a limit
  base::Random random_;  // virtual runtime
};

}  // namespace tailrace::flow
