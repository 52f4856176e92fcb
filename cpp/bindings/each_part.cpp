// GIL       Held throughout; bodies may let go of it, so what they are not told of is read again after each.
// Lifetime  A part lives as long as its run's block is in use; items that end later hold a reference of the run.
#include "each_part.hpp"

#include "context.hpp"

namespace tailrace::bindings {

namespace {

bool is_kind(const NodeSpec& spec, StepKind kind) { return spec.step->kind == static_cast<int>(kind); }

// Are its items started all at once, to be run elsewhere?
bool is_launched(const NodeSpec& spec) { return is_kind(spec, StepKind::kBlocking) || is_kind(spec, StepKind::kAsync); }

PyObject* too_many(const NodeSpec& spec) {
  return PyErr_Format(PyExc_ValueError,
                      "tr.each(%U, items): at most %zd items are allowed, and there are more; give each call a "
                      "list of them: tr.each(step, chunks)",
                      spec.label, kMaxItems);
}

// What the user's iterable yields, as a tuple; null with an exception set.
PyObject* tuple_of(const NodeSpec& spec, PyObject* given) {
  if (PyTuple_CheckExact(given) || PyList_CheckExact(given)) {
    if (PySequence_Fast_GET_SIZE(given) > kMaxItems) return too_many(spec);
    return PySequence_Tuple(given);
  }
  const Ref iterator = Ref::steal(PyObject_GetIter(given));
  if (!iterator) {
    if (Py_TYPE(given)->tp_iter != nullptr || PyErr_ExceptionMatches(PyExc_TypeError) == 0) return nullptr;
    return PyErr_Format(PyExc_TypeError, "tr.each(%U, items): items must be iterable, got %R", spec.label, given);
  }
  const Ref list = Ref::steal(PyList_New(0));
  while (list) {
    const Ref item = Ref::steal(PyIter_Next(iterator.get()));
    if (!item) return PyErr_Occurred() == nullptr ? PyList_AsTuple(list.get()) : nullptr;
    if (PyList_GET_SIZE(list.get()) == kMaxItems) return too_many(spec);
    if (PyList_Append(list.get(), item.get()) != 0) return nullptr;
  }
  return nullptr;
}

// The items, read in a copy of the run's context: a generator runs here.
PyObject* read_items(RunBlock& block, const NodeSpec& spec, NodeRecord& record, sched::Worker* worker) {
  const int slot = spec.slots[0];
  PyObject* given = slot >= 0 ? block.values[slot] : spec.consts[0];
  if (PyTuple_CheckExact(given) || PyList_CheckExact(given)) return tuple_of(spec, given);
  OwnContext context;
  if (!context.enter(block.context, false)) return nullptr;
  Frame frame{block.runtime, &block, nullptr, spec.label, worker, record.thread, record.started_ns};
  frame.enter_body(false);
  PyObject* items = outside([&] { return tuple_of(spec, given); });
  frame.leave_body();
  frame.leave();
  context.leave();
  boundary_ns = 0;
  return items;
}

// Null with an exception set.
EachPart* open_part(RunBlock& block, const NodeSpec& spec, flow::NodeIndex node, NodeRecord& record,
                    sched::Worker* worker) {
  Ref items = Ref::steal(read_items(block, spec, record, worker));
  Ref results = Ref::steal(items ? PyList_New(PyTuple_GET_SIZE(items.get())) : nullptr);
  if (!results) return nullptr;
  PyObject_GC_UnTrack(results.get());  // nobody may find it half full
  auto* part = new EachPart{block, spec, node};
  part->count = PyTuple_GET_SIZE(items.get());
  part->items = items.release();
  part->results = results.release();
  if (block.has_handle || is_launched(spec)) part->records.resize(static_cast<std::size_t>(part->count));
  part->next_part = std::exchange(block.parts, part);
  return part;
}

// Virtual runtime: the end of an item that takes time.
struct VirtualItemEnd final : sched::Timer {
  VirtualItemEnd(EachPart& p, Py_ssize_t i, PyObject* v, PyObject* e) : part{p}, item{i}, value{v}, error{e} {}
  void fire() override {
    flow::Run& run = part.block.run;
    end_item(part, item, value, error);
    go_on_after_item(part);
    delete this;
    run.release();
  }
  EachPart& part;
  const Py_ssize_t item;
  PyObject* const value;
  PyObject* const error;
};

void run_item(EachPart& part, Py_ssize_t item, sched::Worker* worker) {
  RunBlock& block = part.block;
  NodeRecord& record = part.record(item);
  const Attempt made = attempt(block, part.spec, PyTuple_GET_ITEM(part.items, item), record, worker);
  PyObject* const error = made.value == nullptr ? take_raised() : nullptr;
  if (!block.runtime->is_virtual || made.ended_ns == record.started_ns) {
    return end_item(part, item, made.value, error);
  }
  if (worker != nullptr) worker->virtual_busy_until_ns = made.ended_ns;
  block.run.retain();
  block.runtime->scheduler().arm(*new VirtualItemEnd{part, item, made.value, error}, made.ended_ns);
}

// An item on a thread of the blocking lane.
struct BlockingItem final : sched::Item {
  BlockingItem(EachPart& p, Py_ssize_t i) : part{p}, item{i} {}

  void run(sched::Worker*) override {
    const bool real = !part.block.runtime->is_virtual;
    if (real) attach_thread();
    boundary_ns = 0;
    if (part.block.run.is_open()) {
      run_item(part, item, nullptr);
    } else {
      ++part.ended;
    }
    go_on_after_item(part);
    drop();
    if (real) detach_thread();
  }
  void complete(base::Outcome) override {
    cancel_block(&part.block);
    ++part.ended;
    go_on_after_item(part);
    drop();
  }
  void drop() override {
    flow::Run& run = part.block.run;
    delete this;
    run.release();
  }

  EachPart& part;
  const Py_ssize_t item;
};

void launch_items(EachPart& part) {
  RunBlock& block = part.block;
  const bool blocking = is_kind(part.spec, StepKind::kBlocking);
  while (part.next < part.count && block.run.is_open()) {
    const Py_ssize_t item = part.next++;
    if (blocking) {
      block.run.retain();
      block.runtime->scheduler().push_blocking(new BlockingItem{part, item});
    } else {
      launch_async(&block, part.node, &part, item);
    }
  }
}

void take_items(EachPart& part, sched::Worker* worker) {
  RunBlock& block = part.block;
  const StepObject& step = *part.spec.step;
  const bool async = is_kind(part.spec, StepKind::kAsync);  // only in a debugging runtime
  while (part.next < part.count && block.run.is_open() && current_pass.allows(block, step)) {
    const Py_ssize_t item = part.next++;
    if (!async) {
      run_item(part, item, worker);
      continue;
    }
    launch_async(&block, part.node, &part, item);
    if (block.tokens != nullptr) return;  // on the caller's loop: the next item when this one has ended
  }
}

// True for the one caller after which nothing of the part is left to do: it fires the node.
bool end_if_complete(EachPart& part) {
  RunBlock& block = part.block;
  const bool open = block.run.is_open();
  if (part.items == nullptr || part.active > 0 || part.ended < part.next) return false;
  if (part.next < part.count && open) return false;
  part.closed = true;
  const Ref items = Ref::steal(std::exchange(part.items, nullptr));
  Ref results = Ref::steal(std::exchange(part.results, nullptr));
  PyObject_GC_Track(results.get());
  const auto given = block.run.plan().node(part.node).given;
  block.records[given].ended_ns = block.runtime->now_ns();
  block.records[given].outcome = base::Outcome::kOk;
  if (open) block.values[block.plan->arg_count + static_cast<int>(given)] = results.release();
  return true;
}

}  // namespace

base::Verdict run_each(RunBlock& block, const NodeSpec& spec, flow::NodeIndex node, sched::Worker* worker) {
  const auto given = block.run.plan().node(node).given;
  NodeRecord& record = block.records[given];
  const bool is_virtual = block.runtime->is_virtual;
  if (is_virtual || boundary_ns == 0) boundary_ns = block.runtime->now_ns();
  record.thread = worker != nullptr ? worker->name().c_str() : "caller";
  record.started_ns = boundary_ns;
  EachPart* const part = open_part(block, spec, node, record, worker);
  if (part == nullptr) {
    record.ended_ns = block.runtime->now_ns();
    record.outcome = base::Outcome::kFailed;
    keep_failure(block, take_raised(), static_cast<int>(given), -1);
    block.run.settle(outcome_of(block));
    return base::Verdict::kFailed;
  }
  ++part->active;
  if (is_launched(spec) && !block.runtime->debug) {
    launch_items(*part);
  } else {
    part->next_open = std::exchange(block.open_parts, part);
    if (!is_virtual) take_items(*part, worker);
  }
  --part->active;
  if (end_if_complete(*part)) return base::Verdict::kDone;
  if (part->is_open()) post_ticket(&block);
  return base::Verdict::kDeferred;
}

EachPart* open_part_of(RunBlock& block) noexcept {
  while (block.open_parts != nullptr && !block.open_parts->is_open()) block.open_parts = block.open_parts->next_open;
  return block.open_parts;
}

flow::NodeIndex work_on(EachPart& part, sched::Worker* worker) {
  ++part.active;
  take_items(part, worker);
  --part.active;
  if (!part.block.run.is_open()) part.closed = true;
  return end_if_complete(part) ? part.block.run.finish(part.node, false, worker) : flow::kNoNode;
}

void run_virtual(RunBlock& block, sched::Worker* worker) {
  flow::Run& run = block.run;
  EachPart* const part = open_part_of(block);
  flow::NodeIndex after = flow::kNoNode;
  if (part != nullptr && (!run.has_ready() || block.random->below(2) == 0)) {
    ++part->active;
    if (run.is_open()) run_item(*part, part->next++, worker);
    --part->active;
    if (!run.is_open()) part->closed = true;
    if (end_if_complete(*part)) after = run.finish(part->node, false, worker);
  } else if (const flow::NodeIndex node = run.take_ready(); node != flow::kNoNode) {
    after = run.step(node, worker);
  }
  if (after != flow::kNoNode) run.offer(after, worker);
  if (block.has_work()) post_ticket(&block);
}

void end_item(EachPart& part, Py_ssize_t item, PyObject* value, PyObject* error) {
  RunBlock& block = part.block;
  ++part.ended;
  if (!block.run.is_open()) {
    ++block.runtime->state->ledger.late;
    Py_XDECREF(value);
  } else if (value != nullptr) {
    PyList_SET_ITEM(part.results, item, value);
  }
  if (error == nullptr) return;
  keep_failure(block, error, static_cast<int>(block.run.plan().node(part.node).given), item);
  block.run.settle(outcome_of(block));
}

void go_on_after_item(EachPart& part) {
  RunBlock& block = part.block;
  if (end_if_complete(part)) return go_on_shortly(&block, block.run.finish(part.node, false, nullptr));
  if (block.runtime->debug) go_on_in_order(&block, flow::kNoNode);
}

void free_parts(RunBlock& block) {
  block.open_parts = nullptr;
  while (EachPart* part = block.parts) {
    block.parts = part->next_part;
    delete part;
  }
}

}  // namespace tailrace::bindings
