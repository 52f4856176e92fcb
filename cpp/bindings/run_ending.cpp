// run_ending.cpp -- waiting for a run, and what those who wait get.
#include "run_block.hpp"
#include "token.hpp"
#include "waits.hpp"

namespace tailrace::bindings {

namespace {

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
  if (refuse_deadlock(block, token_held_up_here())) return -1;
  const bool start_here = !block->begun;
  if (help && !block->runtime->is_virtual && !block->runtime->debug && (start_here || block->has_work())) {
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
  if (refuse_deadlock(block, token_held_up_here())) return -1;  // again: others may have begun to wait while we helped
  // What is ready beside this body must not wait for it, short as it was thought.
  if (inside->block != nullptr && inside->block->has_work()) post_ticket(inside->block);
  if (deadline_ns == base::kNever) inside->waits_for = block;
  inside->begin_wait();
  const int ended = wait_ended(block, deadline_ns);
  inside->end_wait();
  inside->waits_for = nullptr;
  return ended;
}

PyObject* take_result(RunBlock* block) {
  if (block->run.ending.outcome() != base::Outcome::kOk) return raise_ending(block), nullptr;
  PyObject* value = block->plan->output < 0 ? nullptr : block->values[block->plan->output];
  return Py_NewRef(value != nullptr ? value : Py_None);  // cleared by the collector: only a finalizer can ask then
}

void log_unseen(RunBlock* block) {
  if (block->retrieved || block->run.ending.outcome() != base::Outcome::kFailed || hooks.log_failure == nullptr) return;
  block->retrieved = true;
  if (block->failures.empty()) return;
  const Ref error = Ref::borrow(block->failures.front().error);
  UserCode around{block->runtime};
  const Ref ignored = Ref::steal(outside(
      [&] { return PyObject_CallFunctionObjArgs(hooks.log_failure, block->plan->name, error.get(), nullptr); }));
  if (!ignored) PyErr_WriteUnraisable(hooks.log_failure);
  around.leave();
}

bool cancel_block(RunBlock* block) {
  block->retrieved = true;
  return block->run.settle(base::Outcome::kCancelled);
}

}  // namespace tailrace::bindings
