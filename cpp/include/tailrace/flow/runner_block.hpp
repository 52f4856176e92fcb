// runner_block.hpp -- what a runner keeps for one run at a time, again and again; or for one part of a run, once.
//
// What      The run, who is invited to it, its deadline, whom to tell; and what has become of the runs it was used for.
// Why       Counts by block are added to by one run at a time, so that no two runs share a line to be counted.
// Threads   As flow/run.hpp. The options are written before the run is offered to anybody.
// Checked   tests/cpp/flow/test_runner.cpp, tests/cpp/flow/test_native_runs.cpp (which counts the blocks).
#pragma once

#include <array>
#include <memory>

#include "tailrace/flow/runner.hpp"

namespace tailrace::flow {

struct Runner::Block {
  struct Deadline final : sched::Timer {
    explicit Deadline(Run& expired) noexcept : run{expired} {}
    void fire() override {
      run.settle(base::Outcome::kTimedOut);
      run.release();
    }
    Run& run;
  };

  Block(const Plan& plan, Runner& owner, void* memory, std::size_t size, Block* p, NodeIndex parent_node)
      : run{plan, owner, memory, p == nullptr ? nullptr : &p->run, parent_node},
        runner{owner},
        parent{p},
        bytes{size},
        nesting{p == nullptr ? 0 : p->nesting + 1} {}
  static Block& of(Run& run) noexcept { return reinterpret_cast<Block&>(run); }
  Block& root() noexcept { return parent == nullptr ? *this : parent->root(); }

  Run run;  // first, so that it leads back here
  Runner& runner;
  Block* const parent;  // of a part, which holds a reference of it
  const std::size_t bytes;
  const int nesting;
  std::unique_ptr<const Plan> own_plan;  // of a part made by spawn_each

  // Written before the run is shared.
  Show show = Show::kAtOnce;
  bool is_sampled = false;  // what it costs is learnt
  std::int64_t node_ns = -1;  // what a node is thought to cost; of a part nothing is known
  std::int64_t began_ns = 0;  // of a run that is sampled, or of a large plan

  base::atomic<bool> invited{false};
  base::atomic<bool> helper_sleeps{false};  // a waiter that would rather help
  base::atomic<std::int32_t> helpers{0};  // relaxed, all: a limit, not a protocol
  base::atomic<std::int64_t> busy_ns{0};  // relaxed, all: read when nobody else is left ([K2])
  base::atomic<bool> begun{false};  // by the worker that came, or by the owner of the handle who would not wait
  base::atomic<bool> held{false};  // by a handle
  base::atomic<std::uint32_t> ends{0};  // of a run that did not end well: settled, fired
  Ending<> gone;  // fired: no step uses the request any more
  Deadline timer{run};
  std::int64_t deadline_ns = base::kNever;
  bool timed = false;  // a timer was armed for it
  bool started = false;  // by `start`, so that somebody may wait for `gone`
  void (*on_settled)(void*, base::Outcome) = nullptr;
  void (*on_fired)(void*) = nullptr;
  metrics::Counter runs;
  std::array<metrics::Counter, base::kOutcomeCount> ended;
};

}  // namespace tailrace::flow
