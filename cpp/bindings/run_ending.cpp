// run_ending.cpp -- waiting for a run, and what those who wait get.
#include "run_block.hpp"

namespace tailrace::bindings {

namespace {

bool is_inside(const Frame* frame, const RunBlock* run) {
  while (frame != nullptr && frame->block != run) frame = frame->outer;
  return frame != nullptr;
}

// Can `wanted` only end after a body that this thread is in? Then nobody could ever wake us. It ends here: whoever
// closes a circle is told so and does not wait, thus there is none among the others.
bool would_deadlock(const RunBlock* wanted) {
  if (wanted->done()) return false;
  if (is_inside(top_frame, wanted)) return true;
  for (const Frame* other = all_frames; other != nullptr; other = other->next) {
    if (other->waits_for != nullptr && is_inside(other, wanted) && would_deadlock(other->waits_for)) return true;
  }
  return false;
}

bool refuse_deadlock(RunBlock* wanted) {
  if (top_frame == nullptr || !would_deadlock(wanted)) return false;
  raise_hooked("deadlock", Py_BuildValue("{s:O,s:O}", "workflow", wanted->plan->name, "step", top_frame->label));
  return true;
}

int wait_ended(RunBlock* block, std::int64_t deadline_ns) {
  if (block->runtime->is_virtual) {
    if (!drive_until(block->runtime, deadline_ns, [&] { return block->done(); })) return -1;
    return block->done() ? 1 : 0;
  }
  return wait_without_gil(deadline_ns,
                          [block](std::int64_t timeout_ns) { return block->run.ending.wait_once(timeout_ns); });
}

}  // namespace

int wait_block(RunBlock* block, std::int64_t deadline_ns, bool help) {
  if (block->done()) return 1;
  if (refuse_deadlock(block)) return -1;
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
  if (refuse_deadlock(block)) return -1;  // again: others may have begun to wait while we helped
  // What is ready beside this body must not wait for it, short as it was thought.
  if (inside->block != nullptr && inside->block->run.has_ready()) post_ticket(inside->block);
  if (deadline_ns == base::kNever) inside->waits_for = block;
  inside->begin_wait();
  const int ended = wait_ended(block, deadline_ns);
  inside->end_wait();
  inside->waits_for = nullptr;
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
      return raise_hooked("timed_out",
                          Py_BuildValue("{s:O,s:d}", "workflow", workflow, "deadline_s", block->deadline_s));
    case base::Outcome::kFailed:
      if (PyErr_GivenExceptionMatches(block->error, PyExc_Exception) == 0) return raise(block->error);
      return raise_hooked("step_failed",
                          Py_BuildValue("{s:O,s:O,s:i,s:O}", "workflow", workflow, "step",
                                        (*block->plan->specs)[static_cast<std::size_t>(block->error_node)].label,
                                        "attempt", 1, "cause", block->error));
    default:
      // KeyboardInterrupt. An ordinary error is of a body that failed while the cancel was made, and came second.
      if (block->error != nullptr && PyErr_GivenExceptionMatches(block->error, PyExc_Exception) == 0) {
        return raise(block->error);
      }
      return raise_hooked("cancelled", Py_BuildValue("{s:O}", "workflow", workflow));
  }
}

void log_unseen(RunBlock* block) {
  if (block->retrieved || block->run.ending.outcome() != base::Outcome::kFailed || hooks.log_failure == nullptr) return;
  block->retrieved = true;
  UserCode around{block->runtime};
  const Ref ignored = Ref::steal(outside(
      [&] { return PyObject_CallFunctionObjArgs(hooks.log_failure, block->plan->name, block->error, nullptr); }));
  if (!ignored) PyErr_WriteUnraisable(hooks.log_failure);
  around.leave();
}

bool cancel_block(RunBlock* block) {
  block->retrieved = true;
  return block->run.settle(base::Outcome::kCancelled);
}

}  // namespace tailrace::bindings
