#include "stand_in.hpp"

namespace tailrace::bindings {

thread_local RuntimeObject* standing_in_for = nullptr;

namespace {

bool all_wait(RuntimeState& state) { return state.waiting_workers >= state.scheduler.worker_count(); }

struct StandIn final : sched::Item {
  explicit StandIn(RuntimeObject* r) : runtime{r} {}

  void run(sched::Worker*) override {
    attach_thread();
    standing_in_for = runtime;
    while (all_wait(*runtime->state)) {
      sched::Item* item = runtime->scheduler().take_gated();
      if (item == nullptr) break;
      detach_thread();
      item->run(nullptr);
      attach_thread();
    }
    standing_in_for = nullptr;
    drop();
    detach_thread();
  }
  void complete(base::Outcome) override { drop(); }
  void drop() override {
    --runtime->state->stand_ins;
    PyObject* held = reinterpret_cast<PyObject*>(runtime);
    delete this;
    Py_DECREF(held);
  }

  RuntimeObject* const runtime;  // owned
};

}  // namespace

void relieve(RuntimeObject* runtime) {
  RuntimeState& state = *runtime->state;
  if (!all_wait(state) || state.stand_ins > 0 || !state.scheduler.lane().has_items()) return;
  ++state.stand_ins;
  Py_INCREF(reinterpret_cast<PyObject*>(runtime));
  state.scheduler.push_blocking(new StandIn{runtime});
}

void begin_standing_still(RuntimeObject* runtime, bool is_worker) {
  if (is_worker) {
    ++runtime->state->waiting_workers;
  } else {
    --runtime->state->stand_ins;
  }
  relieve(runtime);
}

void end_standing_still(RuntimeObject* runtime, bool is_worker) {
  if (is_worker) {
    --runtime->state->waiting_workers;
  } else {
    ++runtime->state->stand_ins;
  }
}

}  // namespace tailrace::bindings
