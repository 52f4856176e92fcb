// runner_block.hpp -- what a runner keeps for one run at a time, again and again.
//
// What      The run, who is invited to it, its deadline, whom to tell; and what has become of the runs it was used for.
// Why       Counts by block are added to by one run at a time, so that no two runs share a line to be counted.
// Threads   As flow/run.hpp. The options are written before the run is offered to anybody.
// Checked   tests/cpp/flow/test_runner.cpp.
#pragma once

#include <array>

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

  Block(Runner& owner, void* memory) : run{owner.plan_, owner, memory}, runner{owner} {}
  static Block& of(Run& run) noexcept { return reinterpret_cast<Block&>(run); }

  Run run;  // first, so that it leads back here
  Runner& runner;
  base::atomic<bool> invited{false};
  base::atomic<bool> begun{false};  // by the worker that came, or by the owner of the handle who would not wait
  base::atomic<bool> held{false};  // by a handle
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
