#include "frame.hpp"

#include "run_block.hpp"
#include "runtime.hpp"
#include "stand_in.hpp"
#include "token.hpp"

namespace tailrace::bindings {

thread_local Frame* top_frame = nullptr;
Frame* all_frames = nullptr;

Frame::Frame(RuntimeObject* runtime_, RunBlock* block_, PyObject* task_, PyObject* label_, sched::Worker* worker_,
             const char* thread_, std::int64_t started)
    : runtime{runtime_},
      block{block_},
      task{task_},
      label{label_},
      worker{worker_},
      thread{thread_},
      started_ns{started},
      ident{PyThread_get_thread_ident()},
      outer{top_frame},
      next{all_frames} {
  if (outer != nullptr) outer->innermost = false;
  if (next != nullptr) next->previous = this;
  all_frames = this;
  top_frame = this;
}

void keep_own_frames() noexcept {
  all_frames = nullptr;
  for (Frame* frame = top_frame; frame != nullptr; frame = frame->outer) {
    frame->previous = nullptr;
    if ((frame->next = all_frames) != nullptr) all_frames->previous = frame;
    all_frames = frame;
  }
}

void Frame::overrun() {
  Frame* const taken = place();
  if (replaced_ != nullptr || taken == nullptr || taken->runtime->is_virtual) return;
  replaced_ = taken->worker;
  replaced_->replace();
}

void Frame::leave() noexcept {
  if (replaced_ != nullptr) replaced_->end_replacement();
  top_frame = outer;
  if (outer != nullptr) outer->innermost = true;
  if (next != nullptr) next->previous = previous;
  (previous != nullptr ? previous->next : all_frames) = next;
}

bool Frame::opens_for(const Cost& cost, GilUse said, bool others) {
  if (cost.wants_probe(said) && !runtime->is_virtual && (others || runtime->scheduler().lane().has_items())) {
    probed_ = runtime->state->keeper.probe.begin();
  }
  const bool opens = probed_ || cost.opens_gate(said);
  holds_long_ = !opens && cost.known() && cost.mean_ns >= kLongNs;
  return opens;
}

void Frame::learn_released(Cost& cost, std::int64_t ns) const {
  if (probed_) cost.learn_released(ns, seen_.inside_ns, seen_.outside_ns);
}

void Frame::enter_body(bool opens) {
  gate_ = runtime->scheduler().lane().gate.generation();
  if (worker == nullptr) {
    if ((opened_ = opens || holds_long_)) step_aside();
    return;
  }
  if (holds_long_) ++runtime->state->long_bodies;
  worker->enter_body(opens);
}

bool Frame::leave_body() {
  if (probed_) seen_ = runtime->state->keeper.probe.end();
  const bool alone = !kHasGil || runtime->scheduler().lane().gate.generation() == gate_;
  if (worker != nullptr && holds_long_) --runtime->state->long_bodies;
  if (worker != nullptr) return worker->leave_body() && alone;
  if (opened_) step_back();
  return alone;
}

void Frame::begin_wait() {
  if (Frame* const taken = place()) {
    taken->worker->open_body();
    if (!taken->runtime->is_virtual) begin_standing_still(taken->runtime, true);
  } else if (standing_in_for != nullptr) {
    begin_standing_still(standing_in_for, false);
  }
  step_aside();
}

void Frame::end_wait() {
  step_back();
  if (Frame* const taken = place()) {
    if (!taken->runtime->is_virtual) end_standing_still(taken->runtime, true);
  } else if (standing_in_for != nullptr) {
    end_standing_still(standing_in_for, false);
  }
}

Frame* Frame::place() noexcept {
  Frame* frame = this;
  while (frame != nullptr && frame->worker == nullptr) frame = frame->outer;
  return frame;
}

void Frame::step_aside() {
  if (worker != nullptr || current_guest == nullptr) return;
  ++stepped_out_;
  current_guest->step_out();
}

void Frame::step_back() {
  if (stepped_out_ == 0) return;
  --stepped_out_;
  current_guest->step_in();
}

UserCode::UserCode(RuntimeObject* runtime, PyObject* context)
    : context_{Ref::steal(context != nullptr ? PyContext_Copy(context) : PyContext_CopyCurrent())} {
  if (!context_ || PyContext_Enter(context_.get()) != 0) {  // no memory: then without
    PyErr_Clear();
    context_.clear();
  }
  if (top_frame != nullptr) {
    if (Frame* const taken = top_frame->place()) taken->worker->open_body();
    return;
  }
  if (this_worker == nullptr && standing_in_for == nullptr) return;
  static PyObject* label = nullptr;  // not by an initializer, which would have a lock, and may wait for the interpreter
  if (label == nullptr) label = PyUnicode_InternFromString("a callback");
  frame_.emplace(runtime, nullptr, nullptr, label, this_worker,
                 this_worker != nullptr ? this_worker->name().c_str() : "stand-in", base::monotonic_ns());
  frame_->enter_body(false);  // most are short; the watch sees to the others
}

void UserCode::leave() {
  if (context_) PyContext_Exit(context_.get());
  if (!frame_) return;
  frame_->leave_body();
  frame_->leave();
}

bool inside_body_of(const RuntimeObject* runtime) noexcept {
  return top_frame != nullptr && top_frame->runtime == runtime && top_frame->is_body();
}

RunningBody running_body() noexcept {
  if (top_frame == nullptr) {
    const TokenObject* const token = running_token();
    return token != nullptr ? RunningBody{token->runtime, token->workflow, token->step} : RunningBody{};
  }
  if (!top_frame->is_body()) return {};
  return {top_frame->runtime, top_frame->block != nullptr ? top_frame->block->plan->name : nullptr, top_frame->label};
}

PyObject* current_runtime() {
  RuntimeObject* const runtime = running_body().runtime;
  return Py_NewRef(runtime != nullptr ? reinterpret_cast<PyObject*>(runtime) : Py_None);
}

PyObject* current_step() {
  const RunningBody body = running_body();
  if (body.label == nullptr) return Py_NewRef(Py_None);
  if (body.workflow == nullptr) return Py_BuildValue("(sO)", "submit", body.label);
  return Py_BuildValue("(OO)", body.workflow, body.label);
}

}  // namespace tailrace::bindings
