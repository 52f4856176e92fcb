// run_ending.cpp -- waiting for a run, and what those who wait get.
#include "run_block.hpp"

namespace tailrace::bindings {

namespace {

// A step that waits for a run which can only end after the step itself: nobody could ever wake it.
bool would_deadlock(RunBlock* wanted) {
  for (RunBlock* block = wanted; block != nullptr; block = block->waits_for) {
    for (const Frame* frame = top_frame; frame != nullptr; frame = frame->outer) {
      if (frame->block == block) return true;
    }
  }
  return false;
}

int wait_ended(RunBlock* block, std::int64_t deadline_ns) {
  if (block->runtime->is_virtual) {
    const auto late = [&] { return block->runtime->now_ns() >= deadline_ns; };
    if (!drive_until(block->runtime, [&] { return block->done() || late(); })) return -1;
    return block->done() ? 1 : 0;
  }
  return wait_without_gil(deadline_ns, [block](std::int64_t timeout_ns) { return block->run.ending.wait_once(timeout_ns); });
}

}  // namespace

int wait_block(RunBlock* block, std::int64_t deadline_ns, bool help) {
  if (block->done()) return 1;
  if (top_frame != nullptr && would_deadlock(block)) {
    return raise_hooked("deadlock", Py_BuildValue("{s:O,s:O}", "workflow", block->plan->name, "step", top_frame->label)), -1;
  }
  const bool start_here = !block->begun;
  if (help && !block->runtime->is_virtual && (start_here || block->run.has_ready())) {
    GuestSlot slot{block->runtime};
    if (slot.granted()) {
      block->begun = true;
      const std::int64_t until = std::min(deadline_ns, block->deadline_ns);
      help_until(block, start_here ? block->run.begin(nullptr) : flow::kNoNode, until);
      slot.leave();
      if (block->done()) return 1;
    }
  }
  if (!block->begun) start_block(block, false);
  if (block->done()) return 1;
  Frame* const inside = top_frame;
  if (inside == nullptr) return wait_ended(block, deadline_ns);
  if (inside->block != nullptr) inside->block->waits_for = block;
  inside->begin_wait();
  const int ended = wait_ended(block, deadline_ns);
  inside->end_wait();
  if (inside->block != nullptr) inside->block->waits_for = nullptr;
  return ended;
}

PyObject* take_result(RunBlock* block) {
  if (block->run.ending.outcome() != base::Outcome::kOk) return raise_ending(block), nullptr;
  return Py_NewRef(block->plan->output < 0 ? Py_None : block->values[block->plan->output]);
}

void raise_ending(RunBlock* block) {
  PyObject* workflow = block->plan->name;
  switch (block->run.ending.outcome()) {
    case base::Outcome::kTimedOut:
      return raise_hooked("timed_out", Py_BuildValue("{s:O,s:d}", "workflow", workflow, "deadline_s", block->deadline_s));
    case base::Outcome::kFailed:
      if (PyErr_GivenExceptionMatches(block->error, PyExc_Exception) == 0) return raise(block->error);
      return raise_hooked("step_failed",
                          Py_BuildValue("{s:O,s:O,s:i,s:O}", "workflow", workflow, "step",
                                        (*block->plan->specs)[static_cast<std::size_t>(block->error_node)].label, "attempt", 1,
                                        "cause", block->error));
    default:
      if (block->error != nullptr) return raise(block->error);  // KeyboardInterrupt
      return raise_hooked("cancelled", Py_BuildValue("{s:O}", "workflow", workflow));
  }
}

void log_unseen(RunBlock* block) {
  if (block->retrieved || block->run.ending.outcome() != base::Outcome::kFailed || hooks.log_failure == nullptr) return;
  block->retrieved = true;
  const Ref ignored = Ref::steal(PyObject_CallFunctionObjArgs(hooks.log_failure, block->plan->name, block->error, nullptr));
  if (!ignored) PyErr_WriteUnraisable(hooks.log_failure);
}

bool cancel_block(RunBlock* block) {
  block->retrieved = true;
  return block->run.settle(base::Outcome::kCancelled);
}

}  // namespace tailrace::bindings
