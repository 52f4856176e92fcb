#include "run_block.hpp"

#include <alloca.h>

#include <new>

#include "awaiting.hpp"
#include "context.hpp"
#include "each_part.hpp"
#include "native_step.hpp"
#include "stand_in.hpp"
#include "tailrace/pool/scheduler_blocks.hpp"
#include "token.hpp"

namespace tailrace::bindings {

void free_block(RunBlock* block);
thread_local std::int64_t boundary_ns = 0;

namespace {

constexpr int kFreeBlocks = 256;  // kept by a plan

RunBlock& block_of(flow::Run& run) { return static_cast<RunBlock&>(run.host()); }

std::size_t value_count(PlanObject* plan) { return static_cast<std::size_t>(plan->arg_count) + plan->specs->size(); }

RunBlock* new_block(PlanObject* plan) {
  const std::size_t nodes = plan->specs->size();
  const std::size_t counters = (flow::Run::memory_bytes(*plan->graph) + 15) & ~std::size_t{15};
  const std::size_t cells = plan->has_native ? nodes : 0;
  const std::size_t bytes = sizeof(RunBlock) + counters + value_count(plan) * sizeof(PyObject*) +
                            nodes * sizeof(NodeRecord) + cells * sizeof(NativeCell);
  auto* memory = static_cast<std::byte*>(pool::scheduler_blocks().take(bytes));
  std::byte* place = memory + sizeof(RunBlock);
  auto** values = reinterpret_cast<PyObject**>(place + counters);
  auto* records = reinterpret_cast<NodeRecord*>(values + value_count(plan));
  for (std::size_t i = 0; i < value_count(plan); ++i) values[i] = nullptr;
  for (std::size_t i = 0; i < nodes; ++i) new (&records[i]) NodeRecord{};
  auto* block = new (memory) RunBlock{plan, place, values, records};
  block->bytes = bytes;
  block->cells = reinterpret_cast<NativeCell*>(records + nodes);
  for (std::size_t i = 0; i < cells; ++i) new (&block->cells[i]) NativeCell{};
  return block;
}

// A body that runs on a thread of the blocking lane.
struct BlockingNode final : sched::Item {
  BlockingNode(RunBlock& b, flow::NodeIndex n) : block{b}, node{n} {}

  void run(sched::Worker*) override {
    const bool real = !block.runtime->is_virtual;
    if (real) attach_thread();
    boundary_ns = 0;
    base::Verdict verdict = base::Verdict::kDone;
    if (block.run.ending.is_open()) verdict = run_step(block.run, node, block.run.plan().node(node).arg, nullptr);
    if (verdict != base::Verdict::kDeferred) {
      go_on_shortly(&block, block.run.finish(node, verdict == base::Verdict::kFailed, nullptr));
    }
    drop();
    if (real) detach_thread();
  }
  void complete(base::Outcome) override {
    cancel_block(&block);
    go_on_shortly(&block, block.run.finish(node, false, nullptr));
    drop();
  }
  void drop() override {
    flow::Run& run = block.run;
    delete this;
    run.release();
  }

  RunBlock& block;
  const flow::NodeIndex node;
};

// Virtual runtime: the end of a body that takes time.
struct VirtualEnd final : sched::Timer {
  VirtualEnd(RunBlock& b, flow::NodeIndex n, PyObject* e) : block{b}, node{n}, error{e} {}
  void fire() override {
    flow::Run& run = block.run;
    if (error != nullptr) {
      keep_failure(block, error, static_cast<int>(run.plan().node(node).given), -1);
      run.settle(outcome_of(block));
    }
    const flow::NodeIndex next = run.finish(node, false, nullptr);
    if (next != flow::kNoNode) run.offer(next, nullptr);
    delete this;
    run.release();
  }
  RunBlock& block;
  const flow::NodeIndex node;
  PyObject* const error;  // owned; null: it went well
};

// Calls the step's body with its arguments in a copy of the run's context; null with an exception set.
PyObject* call_body(const NodeSpec& spec, RunBlock& block, PyObject* item) {
  const std::size_t n = spec.slots.size();
  auto** args = static_cast<PyObject**>(alloca((n + 1) * sizeof(PyObject*))) + 1;
  for (std::size_t i = 0; i < n; ++i) {
    const int slot = spec.slots[i];
    args[i] = slot >= 0 ? block.values[slot] : spec.consts[i];
  }
  if (item != nullptr) args[0] = item;
  const Py_ssize_t keywords = spec.kwnames != nullptr ? PyTuple_GET_SIZE(spec.kwnames) : 0;
  OwnContext context;
  if (!context.enter(block.context, false)) return nullptr;
  PyObject* value = outside([&] {
    return PyObject_Vectorcall(spec.step->fn, args,
                               (n - static_cast<std::size_t>(keywords)) | PY_VECTORCALL_ARGUMENTS_OFFSET, spec.kwnames);
  });
  context.leave();
  return value;
}

// When the last of what it waits for had ended.
std::int64_t ready_ns(const RunBlock& block, const NodeSpec& spec) noexcept {
  std::int64_t ready = block.started_ns;
  for (const int before : spec.before) ready = std::max(ready, block.records[before].ended_ns);
  return ready;
}

}  // namespace

RunBlock::RunBlock(PlanObject* p, void* memory, PyObject** v, NodeRecord* r)
    : run{*p->graph, *this, memory}, ticket{*this}, deadline{*this}, plan{p}, values{v}, records{r} {}

RunBlock* open_block(PlanObject* plan, RuntimeObject* runtime, PyObject* args, long priority, double deadline_s,
                     std::uint32_t references) {
  bool nested = false;
  if (!admit(runtime, &nested)) return nullptr;
  PyObject* context = capture_context();
  if (context == nullptr) return count_end(runtime, base::Outcome::kFailed, nested), nullptr;
  RunBlock* block = plan->free_blocks;
  if (block != nullptr) {
    plan->free_blocks = block->next;
    --plan->free_count;
  } else {
    block = new_block(plan);
  }
  Py_INCREF(plan);
  block->runtime = reinterpret_cast<RuntimeObject*>(Py_NewRef(reinterpret_cast<PyObject*>(runtime)));
  block->context = context;
  for (Py_ssize_t i = 0; i < plan->arg_count; ++i) block->values[i] = Py_NewRef(PyTuple_GET_ITEM(args, i));
  for (std::size_t i = 0; i < plan->specs->size(); ++i) block->records[i] = NodeRecord{};
  block->nested = nested;
  block->retrieved = block->begun = block->armed = block->has_handle = block->has_fired = false;
  block->priority = static_cast<sched::Priority>(priority);
  block->service_ns = -1;
  block->random = runtime->is_virtual ? &runtime->scheduler().worker(0).random() : nullptr;
  block->started_ns = runtime->now_ns();
  block->deadline_ns = base::kNever;
  block->deadline_s = deadline_s;
  block->previous = nullptr;
  block->next = runtime->state->first_run;
  if (block->next != nullptr) block->next->previous = block;
  runtime->state->first_run = block;
  live_begun(runtime);
  block->run.open(references + 1);

  if (deadline_s >= 0) block->deadline_ns = base::after_s(block->started_ns, deadline_s);
  const TokenObject* step = top_frame == nullptr ? running_token() : nullptr;
  const RunBlock* outer = top_frame != nullptr ? top_frame->block : step != nullptr ? step->block : nullptr;
  if (outer != nullptr && outer->runtime == runtime && outer->deadline_ns < block->deadline_ns) {
    block->deadline_ns = outer->deadline_ns;
    block->deadline_s = static_cast<double>(outer->deadline_ns - block->started_ns) * 1e-9;
  }
  if (block->deadline_ns != base::kNever) {
    block->armed = true;
    block->run.retain();
    runtime->scheduler().arm(block->deadline, block->deadline_ns);
  }
  return block;
}

Attempt attempt(RunBlock& block, const NodeSpec& spec, PyObject* item, NodeRecord& record, sched::Worker* worker) {
  StepObject& step = *spec.step;
  const bool is_virtual = block.runtime->is_virtual;
  const bool blocking = step.kind == static_cast<int>(StepKind::kBlocking);
  if (!blocking && look_at_probe(block.runtime->state->keeper)) boundary_ns = 0;
  if (is_virtual || boundary_ns == 0) boundary_ns = block.runtime->now_ns();

  record.thread = worker != nullptr            ? worker->name().c_str()
                  : block.runtime->debug       ? "caller"
                  : blocking                   ? kBlockingThread
                  : standing_in_for != nullptr ? "stand-in"
                                               : "caller";
  record.started_ns = boundary_ns;
  record.outcome = base::Outcome::kPending;
  step.record_queued(boundary_ns - ready_ns(block, spec));
  Frame frame{block.runtime, &block, nullptr, spec.label, worker, record.thread, boundary_ns};
  block.service_ns = std::max<std::int64_t>(block.service_ns, 0);
  const bool siblings = block.has_work();
  const bool opens = frame.opens_for(step.cost, blocking ? GilUse::kReleases : step.gil, siblings);
  if (opens && siblings) post_ticket(&block);  // short siblings, which nobody was invited for, must not wait
  frame.enter_body(opens);
  PyObject* value = call_body(spec, block, item);
  const bool clean = frame.leave_body();
  frame.leave();

  const std::int64_t began = record.started_ns;
  const std::int64_t now = is_virtual ? base::after_s(began, step.virtual_cost_s) : base::monotonic_ns();
  boundary_ns = now;
  step.record(now - began, value == nullptr, clean);
  frame.learn_released(step.cost, now - began);
  if (!blocking) block.service_ns += now - began;
  if (worker != nullptr && is_virtual) worker->counters().busy_ns.add(static_cast<std::uint64_t>(now - began));
  record.ended_ns = now;
  record.outcome = value != nullptr ? base::Outcome::kOk : base::Outcome::kFailed;
  return {value, now};
}

base::Verdict run_step(flow::Run& run, flow::NodeIndex node, void* arg, sched::Worker* worker) {
  RunBlock& block = block_of(run);
  const auto& spec = *static_cast<const NodeSpec*>(arg);
  if (spec.is_each) return run_each(block, spec, node, worker);
  const auto given = static_cast<int>(run.plan().node(node).given);
  NodeRecord& record = block.records[given];
  const Attempt made = attempt(block, spec, nullptr, record, worker);
  PyObject* const error = made.value == nullptr ? take_raised() : nullptr;
  if (!run.ending.is_open()) {
    ++block.runtime->state->ledger.late;
    Py_XDECREF(made.value);
  } else {
    block.values[block.plan->arg_count + given] = made.value;
  }
  if (block.runtime->is_virtual && made.ended_ns > record.started_ns) {
    if (worker != nullptr) worker->virtual_busy_until_ns = made.ended_ns;
    run.retain();
    block.runtime->scheduler().arm(*new VirtualEnd{block, node, error}, made.ended_ns);
    return base::Verdict::kDeferred;
  }
  if (error == nullptr) return base::Verdict::kDone;
  keep_failure(block, error, given, -1);
  run.settle(outcome_of(block));
  return base::Verdict::kFailed;
}

void RunBlock::launch(flow::Run&, flow::NodeIndex node) {
  if (in_order != nullptr) return in_order->ready.push_back(node);
  service_ns = std::max<std::int64_t>(service_ns, 0);
  const auto& spec = *static_cast<const NodeSpec*>(run.plan().node(node).arg);
  if (spec.step->kind == static_cast<int>(StepKind::kBlocking)) {
    run.retain();
    runtime->scheduler().push_blocking(new BlockingNode{*this, node});
    return;
  }
  launch_async(this, node);
}

// Short siblings are run by who made them ready: another thread could only take turns at the GIL with it.
void RunBlock::offered(flow::Run&, flow::NodeIndex top, std::uint32_t, sched::Worker*) {
  const auto& spec = *static_cast<const NodeSpec*>(run.plan().node(top).arg);
  if (runtime->is_virtual || worth_another(spec)) post_ticket(this);
}

void RunBlock::settled(flow::Run&, base::Outcome outcome) {
  count_end(runtime, outcome, nested);
  if (armed && runtime->scheduler().cancel(deadline)) {
    armed = false;
    run.release();
  }
  if (tokens == nullptr && callbacks == nullptr) return;
  run.ending.announce();  // first: a callback may wait for somebody who waits for this run
  if (outcome != base::Outcome::kOk) cancel_tokens(this);
  const Ref to_call = Ref::steal(std::exchange(callbacks, nullptr));
  if (!to_call) return;
  bool others = false;
  for (Py_ssize_t i = 0; i < PyList_GET_SIZE(to_call.get()); ++i) {
    PyObject* fn = PyTuple_GET_ITEM(PyList_GET_ITEM(to_call.get(), i), 0);
    is_waiter(fn) ? wake_waiter(fn) : void(others = true);
  }
  if (!others) return;
  UserCode around{runtime, context};
  for (Py_ssize_t i = 0; i < PyList_GET_SIZE(to_call.get()); ++i) {
    PyObject* pair = PyList_GET_ITEM(to_call.get(), i);  // (fn, run)
    if (is_waiter(PyTuple_GET_ITEM(pair, 0))) continue;
    const Ref ignored =
        Ref::steal(outside([&] { return PyObject_CallOneArg(PyTuple_GET_ITEM(pair, 0), PyTuple_GET_ITEM(pair, 1)); }));
    if (!ignored) PyErr_WriteUnraisable(PyTuple_GET_ITEM(pair, 0));
  }
  around.leave();
}

void RunBlock::fired(flow::Run&) {
  if (next != nullptr) next->previous = previous;
  (previous != nullptr ? previous->next : runtime->state->first_run) = next;
  next = previous = nullptr;
  const int output = run.ending.outcome() == base::Outcome::kOk ? plan->output : -1;
  for (std::size_t i = 0; i < value_count(plan); ++i) {
    if (static_cast<int>(i) != output) Py_CLEAR(values[i]);
  }
  if (output < 0) forget_cells(*this);
  Py_CLEAR(context);
  Py_CLEAR(loop);
  in_order.reset();
  has_fired = true;
  if (!has_handle) log_unseen(this);  // before `drain` may return
  live_ended(runtime);
  run.release();
}

void RunBlock::released(flow::Run&) {
  for (std::size_t i = 0; i < value_count(plan); ++i) Py_CLEAR(values[i]);
  clear_failures(*this);
  free_parts(*this);
  Py_CLEAR(loop);
  PyObject* runtime_object = reinterpret_cast<PyObject*>(std::exchange(runtime, nullptr));
  PlanObject* const owner = plan;
  if (owner->free_count < kFreeBlocks) {
    next = owner->free_blocks;
    owner->free_blocks = this;
    ++owner->free_count;
  } else {
    free_block(this);
  }
  Py_DECREF(runtime_object);
  Py_DECREF(owner);
}

void free_block(RunBlock* block) {
  const std::size_t bytes = block->bytes;
  block->~RunBlock();
  pool::scheduler_blocks().give(block, bytes);
}

void RunBlock::Deadline::fire() {
  const bool real = !block.runtime->is_virtual;
  if (real) attach_thread();
  block.armed = false;
  block.run.settle(base::Outcome::kTimedOut);
  for (Frame* frame = all_frames; frame != nullptr; frame = frame->next) {
    if (frame->block == &block) frame->overrun();
  }
  block.run.release();
  if (real) detach_thread();
}

}  // namespace tailrace::bindings
