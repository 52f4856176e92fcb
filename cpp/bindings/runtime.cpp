#include "runtime.hpp"

#include "activity.hpp"
#include "run_block.hpp"
#include "token.hpp"

namespace tailrace::bindings {

Cost& CostTable::of(PyObject* fn) noexcept {
  const void* key = PyFunction_Check(fn) ? static_cast<const void*>(PyFunction_GET_CODE(fn)) : fn;
  const auto mixed = (reinterpret_cast<std::uintptr_t>(key) >> 4) * 0x9e3779b97f4a7c15ull;
  Entry& entry = entries_[mixed >> 56];
  if (entry.key != key) entry = Entry{key, Cost{}};
  return entry.cost;
}

RuntimeState::RuntimeState(PyInterpreterState* interpreter, sched::SchedulerOptions options)
    : keeper{interpreter},
      scheduler{[&] {
        options.keeper = &keeper;
        return options;
      }()},
      guest_slots{options.workers} {}

bool inside_step_of(RuntimeObject* runtime) noexcept {
  if (top_frame != nullptr) return inside_body_of(runtime);
  const TokenObject* token = running_token();
  return token != nullptr && token->runtime == runtime;
}

bool admit(RuntimeObject* runtime, bool* nested) {
  Ledger& ledger = runtime->state->ledger;
  *nested = inside_step_of(runtime);
  if (runtime->closed) return raise_hooked("closed", Py_BuildValue("{s:O}", "runtime", runtime->name)), false;
  try {
    if (!runtime->debug) runtime->scheduler().ensure_started();
  } catch (const std::exception& error) {
    return PyErr_SetString(PyExc_RuntimeError, error.what()), false;
  }
  if (*nested) return ++ledger.nested, true;
  ++ledger.submitted;
  if (ledger.in_flight >= runtime->max_pending) {
    ++ledger.ended[static_cast<std::size_t>(base::Outcome::kRejected)];
    raise_hooked("overloaded", Py_BuildValue("{s:O,s:L}", "runtime", runtime->name, "max_pending",
                                             static_cast<long long>(runtime->max_pending)));
    return false;
  }
  ++ledger.in_flight;
  return true;
}

void count_end(RuntimeObject* runtime, base::Outcome outcome, bool nested) {
  if (nested) return;
  Ledger& ledger = runtime->state->ledger;
  ++ledger.ended[static_cast<std::size_t>(outcome)];
  --ledger.in_flight;
}

void live_begun(RuntimeObject* runtime) {
  ++runtime->state->live;
  activity.begin();
}

void live_ended(RuntimeObject* runtime) {
  RuntimeState& state = *runtime->state;
  activity.end();
  if (--state.live != 0) return;
  state.quiet.fetch_add(1, base::release);  // [Y1] release: what there was to do is done. Pairs with [Y2].
  if (state.drainers > 0) base::StdAtomics::unpark(state.quiet, INT32_MAX);
}

thread_local GuestSlot* current_guest = nullptr;

GuestSlot::GuestSlot(RuntimeObject* runtime)
    : runtime_{runtime},
      outer_{current_guest},
      // A thread inside a body of this runtime has its place already.
      counted_{!inside_body_of(runtime)} {
  if (!(granted_ = !counted_) && runtime->state->guest_slots > 0) {
    // We hold the GIL, so whoever is inside a short body has let go of it for a moment: taking turns would cost both.
    // Who is inside a long one had to give it up, and can spare the time. Without a GIL nobody waits for anybody.
    granted_ = !kHasGil || (room().busy == 0 &&
                            (runtime->state->long_bodies > 0 || runtime->scheduler().lane().gate.closed_body() == 0));
  }
  if (!granted_ || !counted_) return;
  --runtime->state->guest_slots;
  room().enter();
  current_guest = this;
}

void GuestSlot::leave() noexcept {
  if (!granted_ || !counted_) return;
  current_guest = outer_;
  room().leave();
  ++runtime_->state->guest_slots;
}

void GuestSlot::step_out() noexcept {
  if (out_++ == 0) room().leave();
}

void GuestSlot::step_in() noexcept {
  if (--out_ == 0) room().enter();
}

int drive_step(RuntimeObject* runtime, std::int64_t limit_ns) {
  sched::Scheduler& scheduler = runtime->scheduler();
  if (PyErr_CheckSignals() != 0) return -1;
  if (scheduler.drive_once()) return 1;
  const std::int64_t now = runtime->now_ns();
  std::int64_t next = scheduler.next_event_ns();
  if (runtime->state->poll != nullptr) {
    const Ref poll = Ref::borrow(runtime->state->poll);  // it may be replaced while it runs
    const Ref delay = Ref::steal(PyObject_CallFunction(poll.get(), "d", static_cast<double>(now) * 1e-9));
    if (!delay) return -1;
    const double seconds = PyFloat_AsDouble(delay.get());
    if (PyErr_Occurred() != nullptr) return -1;
    if (seconds <= 0) return 1;
    if (seconds < 9e9) next = std::min(next, now + std::max<std::int64_t>(static_cast<std::int64_t>(seconds * 1e9), 1));
  }
  if (next == base::kNever && limit_ns == base::kNever) return -2;
  scheduler.virtual_clock().advance_to(std::min(next, limit_ns));
  return next <= limit_ns && next != base::kNever ? 1 : 0;
}

void raise_stalled(RuntimeObject* runtime) {
  const Ref waiting = Ref::steal(PyList_New(0));
  for (RunBlock* block = runtime->state->first_run; waiting && block != nullptr; block = block->next) {
    if (!block->done()) PyList_Append(waiting.get(), block->plan->name);
  }
  raise_hooked("stalled", Py_BuildValue("{s:O,s:O}", "runtime", runtime->name, "waiting", waiting.get()));
}

}  // namespace tailrace::bindings
