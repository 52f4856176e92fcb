// runner.hpp -- runs a plan of native steps on a scheduler; the caller helps.
//
// What      Keeps run blocks of one plan and runs it: `run()` from any thread, as often and as many at once as liked.
// Why       The way into the scheduler for a C++ service; the Python face has its own host with the same parts.
//           Waking a worker costs more than a small graph, so helpers are called when the plan's learnt cost pays for it.
// Threads   run: any thread, at once. Destruction: when no run is under way.
// Checked   tests/cpp/flow/test_run.cpp; measured by bench/native/{chain,diamond,tree}.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

#include "tailrace/base/block_source.hpp"
#include "tailrace/flow/run.hpp"
#include "tailrace/sched/scheduler.hpp"

namespace tailrace::flow {

class Runner final : private Host {
 public:
  Runner(const Plan& plan, sched::Scheduler& scheduler, base::BlockSource& source = base::HeapBlocks::instance());
  Runner(const Runner&) = delete;
  Runner& operator=(const Runner&) = delete;
  ~Runner();

  // Runs the plan once on this thread and whoever helps; returns how it ended (kOk, kFailed).
  base::Outcome run();

  std::int64_t learnt_node_ns() const noexcept { return node_ns_.load(base::relaxed); }  // relaxed: a statistic

 private:
  struct Block;

  void launch(Run&, NodeIndex) override;
  void offered(Run& run, NodeIndex top, std::uint32_t count, sched::Worker* worker) override;
  void settled(Run&, base::Outcome) override {}
  void fired(Run& run) override;
  void released(Run& run) override;

  Block* take();
  void invite(Block& block);

  const Plan& plan_;
  sched::Scheduler& scheduler_;
  base::BlockSource& source_;
  std::mutex mutex_;
  std::vector<Block*> free_;
  std::vector<Block*> all_;
  base::atomic<Block*> spare_{nullptr};  // the last block given back, for the common case of one at a time
  base::atomic<std::int64_t> node_ns_{-1};  // mean cost of a node; -1: not known yet
  base::atomic<std::uint32_t> runs_{0};
};

}  // namespace tailrace::flow
