// run_handle.hpp -- a started run, in the hands of who started it.
//
// What      What `Runner::start` returns: how the run ended, wait for it, cancel it.
// Why       A service that starts many runs and gathers them later needs something to hold; a run that nobody holds goes
//           on all the same.
// Threads   One owner; cancel and outcome: any thread while the owner keeps it. Its Runner outlives it.
// Checked   tests/cpp/flow/test_runner.cpp.
#pragma once

#include <cstdint>
#include <exception>
#include <utility>

#include "tailrace/base/outcome.hpp"

namespace tailrace::flow {

class Run;
class Runner;

class RunHandle {
 public:
  RunHandle() = default;  // holds nothing: rejected
  RunHandle(RunHandle&& other) noexcept : run_{std::exchange(other.run_, nullptr)} {}
  RunHandle& operator=(RunHandle&& other) noexcept {
    std::swap(run_, other.run_);
    return *this;
  }
  ~RunHandle();

  // kPending while the run is open; kRejected when it was refused: nothing was run then, nor will be.
  base::Outcome outcome() const noexcept;

  // Waits until the run is settled and helps with its steps meanwhile; the deadline of the run is minded.
  base::Outcome wait() { return wait_for(-1); }
  // As `wait`, for at most `timeout_s` (< 0: no limit); kPending when the time is up. The run goes on.
  base::Outcome wait_for(double timeout_s);
  // As `wait`, until no step uses the request any more, and on_fired has returned.
  base::Outcome wait_fired();

  // Ends the run as cancelled: no further step starts. False when it was settled before.
  bool cancel();

  // For OnCancel (flow/cancel.hpp). Not of a handle that holds nothing.
  Run& state() noexcept { return *run_; }

  // What the step threw that failed the run; null while it is open and for every other outcome.
  std::exception_ptr error() const noexcept;

 private:
  friend class Runner;
  explicit RunHandle(Run& run) noexcept : run_{&run} {}

  Run* run_ = nullptr;
};

}  // namespace tailrace::flow
