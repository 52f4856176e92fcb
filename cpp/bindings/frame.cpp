#include "frame.hpp"

#include "run_block.hpp"
#include "runtime.hpp"

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

void Frame::leave() noexcept {
  top_frame = outer;
  if (outer != nullptr) outer->innermost = true;
  if (next != nullptr) next->previous = previous;
  (previous != nullptr ? previous->next : all_frames) = next;
}

void Frame::enter_body(bool opens) {
  if (worker != nullptr) return worker->enter_body(opens);
  if ((opened_ = opens)) begin_wait();
}

void Frame::leave_body() {
  if (worker != nullptr) return worker->leave_body();
  if (opened_) end_wait();
}

void Frame::begin_wait() {
  if (worker != nullptr) return worker->open_body();
  if (current_guest == nullptr) return;
  ++stepped_out_;
  current_guest->step_out();
}

void Frame::end_wait() {
  if (stepped_out_ == 0) return;
  --stepped_out_;
  current_guest->step_in();
}

py::object current_runtime() {
  if (top_frame == nullptr || top_frame->runtime == nullptr) return py::none();
  return py::reinterpret_borrow<py::object>(reinterpret_cast<PyObject*>(top_frame->runtime));
}

py::object current_step() {
  if (top_frame == nullptr) return py::none();
  const py::object workflow = top_frame->block != nullptr
                                  ? py::reinterpret_borrow<py::object>(top_frame->block->plan->name)
                                  : py::object(py::str("submit"));
  return py::make_tuple(workflow, py::reinterpret_borrow<py::object>(top_frame->label));
}

}  // namespace tailrace::bindings
