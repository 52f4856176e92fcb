#include "native_step.hpp"

#include <cstring>

#include "run_block.hpp"

namespace tailrace::bindings {

namespace {

using State = NativeCell::State;

constexpr std::int64_t kTimedNs = 500;  // steps that are longer are timed each time; a look at the clock costs 25 ns
constexpr std::uint32_t kTimeEvery = 16;  // of the shorter ones, one pass in so many is
constexpr std::size_t kMostAhead = 64;  // nodes that are taken along without the GIL
constexpr std::int64_t kAheadNs = 5'000'000;  // for so long: what it may cost to get the GIL back

RunBlock& block_of(flow::Run& run) { return static_cast<RunBlock&>(run.host()); }
const NodeSpec& spec_of(const flow::Node& node) { return *static_cast<const NodeSpec*>(node.arg); }
bool is_native(const flow::Node& node) { return node.body == &run_native; }

PyObject* given_to(const RunBlock& block, const NodeSpec& spec) { return block.values[spec.slots[0]]; }

bool is_payload_for(PyObject* object, const NodeSpec& spec) {
  return object != nullptr && Py_IS_TYPE(object, payload_type) &&
         reinterpret_cast<PayloadObject*>(object)->bytes == spec.step->native->payload_bytes;
}

// The native nodes that follow one another from `node` on, together: how many, how long, and what is to be done with the
// GIL meanwhile.
struct Segment {
  std::int64_t sum_ns = 0;
  std::int64_t count = 0;
  bool known = true;
  bool releases = false;
  bool holds = true;

  Segment(const flow::Plan& plan, flow::NodeIndex node) {
    for (;; ++node) {
      const flow::Node& each = plan.node(node);
      if (!is_native(each)) return;
      const StepObject& step = *spec_of(each).step;
      known = known && step.cost.known();
      releases = releases || step.native->gil == NativeGil::kReleases;
      holds = holds && step.native->gil == NativeGil::kHolds;
      sum_ns += step.cost.mean_ns;
      ++count;
      if (!each.chained) return;
    }
  }
  bool lets_go() const noexcept { return releases || (!holds && (!known || sum_ns >= kReleaseNs)); }
  bool timed(NativeCall& first) const noexcept {
    return !known || sum_ns >= kTimedNs * count || ++first.turns % kTimeEvery == 0;
  }
  std::int64_t each_ns() const noexcept { return sum_ns / count; }
};

// Calls the functions from `node` on, each on what the one before has left; with or without the GIL. The cells say how
// it went. Where they are not timed one by one, each is said to have taken `each_ns`.
void run_segment(RunBlock& block, flow::NodeIndex node, bool timed, std::int64_t each_ns) {
  const flow::Plan& plan = block.run.plan();
  const flow::Node* at = &plan.node(node);
  void* payload = reinterpret_cast<PayloadObject*>(given_to(block, spec_of(*at)))->memory;
  std::int64_t now = base::monotonic_ns();
  for (;;) {
    const NodeSpec& spec = spec_of(*at);
    NativeCell& cell = block.cells[at->given];
    const NativeCall& call = *spec.step->native;
    if (spec.copies) {
      cell.owned = take_payload_memory(call.payload_bytes);
      if (cell.owned != nullptr) std::memcpy(cell.owned, payload, call.payload_bytes);
      payload = cell.owned;
    }
    const bool ok = payload != nullptr && call.function(payload) != 0;
    cell.timed = timed;
    cell.began_ns = now;
    const bool last = !ok || at->chained == 0 || !is_native(at[1]) || !block.run.is_open();
    now = timed || last ? base::monotonic_ns() : now + each_ns;
    cell.ended_ns = now;
    cell.last = last;
    cell.state = ok ? State::kOk : State::kFailed;
    if (last) return;
    ++at;
  }
}

// Nodes that were taken off the run's stack while the GIL was let go of.
struct Ahead {
  std::array<flow::NodeIndex, kMostAhead> nodes;
  std::size_t count = 0;

  void take(RunBlock& block) {
    const std::int64_t until = base::monotonic_ns() + kAheadNs;
    while (count < kMostAhead && block.run.is_open()) {
      const flow::NodeIndex node = block.run.take_ready();
      if (node == flow::kNoNode) return;
      nodes[count++] = node;
      const flow::Node& entry = block.run.plan().node(node);
      if (!is_native(entry) || !is_payload_for(given_to(block, spec_of(entry)), spec_of(entry))) return;
      run_segment(block, node, true, 0);
      if (base::monotonic_ns() >= until) return;
    }
  }
  // Under the GIL again: books what was done, and what was not goes back.
  void book(RunBlock& block, sched::Worker* worker) {
    for (std::size_t i = 0; i < count; ++i) {
      flow::NodeIndex node = nodes[i];
      while (node != flow::kNoNode) {
        const flow::Node& entry = block.run.plan().node(node);
        if (!is_native(entry) || block.cells[entry.given].state == State::kNone) break;
        node = block.run.step(node, worker);
      }
      if (node != flow::kNoNode) block.run.offer(node, worker);
    }
  }
};

const char* thread_name(sched::Worker* worker) { return worker != nullptr ? worker->name().c_str() : "caller"; }

void run_without_gil(RunBlock& block, flow::NodeIndex node, const NodeSpec& spec, bool timed, std::int64_t each_ns,
                     sched::Worker* worker) {
  NodeRecord& record = block.records[block.run.plan().node(node).given];
  record.thread = thread_name(worker);
  record.started_ns = base::monotonic_ns();
  if (block.has_work()) post_ticket(&block);  // siblings must not wait
  Ahead ahead;
  Frame frame{block.runtime, &block, nullptr, spec.label, worker, record.thread, record.started_ns};
  frame.enter_body(true);
  PyThreadState* const state = PyEval_SaveThread();
  run_segment(block, node, timed, each_ns);
  if (worker != nullptr || current_pass.until_ns == base::kNever) ahead.take(block);
  PyEval_RestoreThread(state);
  frame.leave_body();
  frame.leave();
  ahead.book(block, worker);
}

// What was done for the node becomes the run's: its value, its record, or the error.
base::Verdict book(RunBlock& block, const NodeSpec& spec, NativeCell& cell, int given, sched::Worker* worker) {
  const bool ok = cell.state == State::kOk;
  cell.state = State::kNone;
  boundary_ns = cell.timed || cell.last ? 0 : cell.ended_ns;  // after the last, the GIL may have been waited for
  PyObject* value = nullptr;
  if (void* const owned = std::exchange(cell.owned, nullptr)) {
    value = adopt_payload(owned, spec.step->native->payload_bytes);
  } else if (ok) {
    value = Py_NewRef(given_to(block, spec));
  }
  const std::int64_t took = cell.ended_ns - cell.began_ns;
  StepObject& step = *spec.step;
  if (cell.timed) {
    step.record(took, !ok, true);
  } else {
    ++step.cost.calls;
    if (!ok) ++step.failures;
  }
  block.service_ns += took;
  block.records[given] = {cell.began_ns, cell.ended_ns, thread_name(worker),
                          ok ? base::Outcome::kOk : base::Outcome::kFailed};
  if (ok && value != nullptr) {
    if (block.run.ending.is_open()) {
      block.values[block.plan->arg_count + given] = value;
    } else {
      ++block.runtime->state->ledger.late;
      Py_DECREF(value);
    }
    return base::Verdict::kDone;
  }
  Py_XDECREF(value);
  if (PyErr_Occurred() == nullptr) raise_native_failure(step.name);
  keep_failure(block, take_raised(), given, -1);
  block.run.settle(outcome_of(block));
  return base::Verdict::kFailed;
}

}  // namespace

base::Verdict run_native(flow::Run& run, flow::NodeIndex node, void* arg, sched::Worker* worker) {
  RunBlock& block = block_of(run);
  const auto& spec = *static_cast<const NodeSpec*>(arg);
  const auto given = static_cast<int>(run.plan().node(node).given);
  NativeCell& cell = block.cells[given];
  if (cell.state == State::kNone) {
    // In virtual time, and for a value that Python has made, the step's Python twin does it.
    if (block.runtime->is_virtual || !is_payload_for(given_to(block, spec), spec)) {
      return run_step(run, node, arg, worker);
    }
    block.service_ns = std::max<std::int64_t>(block.service_ns, 0);
    const Segment segment{run.plan(), node};
    const bool timed = segment.timed(*spec.step->native);
    if (segment.lets_go()) {
      run_without_gil(block, node, spec, timed, segment.each_ns(), worker);
    } else {
      run_segment(block, node, timed, segment.each_ns());
    }
  }
  return book(block, spec, cell, given, worker);
}

bool worth_another(const NodeSpec& spec) noexcept {
  const Cost& cost = spec.step->cost;
  const NativeCall* const native = spec.step->native;
  if (native == nullptr) return spec.step->is_helped();
  return native->gil != NativeGil::kHolds && (!cost.known() || cost.mean_ns >= kReleaseNs);
}

bool prepare_native(PlanObject* plan) {
  auto& specs = *plan->specs;
  std::vector<int> readers(static_cast<std::size_t>(plan->arg_count) + specs.size(), 0);
  for (const auto& spec : specs) {
    for (const int slot : spec.slots) {
      if (slot >= 0 && static_cast<std::size_t>(slot) < readers.size()) ++readers[static_cast<std::size_t>(slot)];
    }
  }
  if (plan->output >= 0) ++readers[static_cast<std::size_t>(plan->output)];
  for (auto& spec : specs) {
    if (spec.step->native == nullptr || spec.is_each) continue;
    // Called with anything but one value of the plan, it is a Python step that happens to have a native twin.
    if (spec.slots.size() != 1 || spec.slots[0] < plan->arg_count || spec.kwnames != nullptr) continue;
    if (static_cast<std::size_t>(spec.slots[0]) >= readers.size()) continue;  // refused later
    const auto& source = specs[static_cast<std::size_t>(spec.slots[0] - plan->arg_count)];
    if (source.step->native != nullptr && !source.is_each &&
        source.step->native->payload_bytes != spec.step->native->payload_bytes) {
      return PyErr_Format(PyExc_ValueError, "step %U: its payload is not of the size that %U hands on", spec.label,
                          source.label),
             false;
    }
    spec.native = plan->has_native = true;
    spec.copies = readers[static_cast<std::size_t>(spec.slots[0])] > 1;
  }
  return true;
}

void forget_cells(RunBlock& block) noexcept {
  if (!block.plan->has_native) return;
  for (auto& spec : *block.plan->specs) {
    NativeCell& cell = block.cells[&spec - block.plan->specs->data()];
    if (cell.owned != nullptr) give_payload_memory(cell.owned, spec.step->native->payload_bytes);
    cell = NativeCell{};
  }
}

}  // namespace tailrace::bindings
