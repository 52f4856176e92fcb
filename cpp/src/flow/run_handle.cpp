#include "tailrace/flow/run_handle.hpp"

#include "tailrace/flow/runner_block.hpp"

namespace tailrace::flow {

RunHandle::~RunHandle() {
  if (run_ == nullptr) return;
  Runner::Block::of(*run_).held.store(false, base::relaxed);  // relaxed: read by a check only
  run_->release();
}

base::Outcome RunHandle::outcome() const noexcept {
  if (run_ == nullptr) return base::Outcome::kRejected;
  return run_->ending.announced() ? run_->ending.outcome() : base::Outcome::kPending;
}

base::Outcome RunHandle::wait_for(double timeout_s) {
  if (run_ == nullptr) return base::Outcome::kRejected;
  auto& block = Runner::Block::of(*run_);
  const std::int64_t now = block.runner.scheduler_.clock().now_ns();
  // [B4] acq_rel: this thread begins the run, or the worker that came. Pairs with Runner::start_run.
  if (!block.begun.exchange(true, base::acq_rel)) block.runner.begin(block, nullptr);
  const std::int64_t until = timeout_s < 0 ? base::kNever : base::after_s(now, timeout_s);
  return block.runner.help_until(block, run_->ending, until) ? run_->ending.outcome() : base::Outcome::kPending;
}

base::Outcome RunHandle::wait_fired() {
  const base::Outcome outcome = wait();
  if (run_ == nullptr) return outcome;
  auto& block = Runner::Block::of(*run_);
  block.runner.help_until(block, block.gone, base::kNever);
  return outcome;
}

bool RunHandle::cancel() { return run_ != nullptr && run_->settle(base::Outcome::kCancelled); }

std::exception_ptr RunHandle::error() const noexcept {
  return run_ != nullptr && run_->ending.announced() ? run_->error() : nullptr;
}

}  // namespace tailrace::flow
