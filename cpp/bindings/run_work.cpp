// run_work.cpp -- who works on a run, and for how long: workers that were invited, callers that help.
#include "each_part.hpp"
#include "loop_turn.hpp"
#include "run_block.hpp"
#include "stand_in.hpp"

namespace tailrace::bindings {

thread_local Pass current_pass;

namespace {

const StepObject& step_of(RunBlock& block, flow::NodeIndex node) {
  return *static_cast<const NodeSpec*>(block.run.plan().node(node).arg)->step;
}

// Makes `pass` this thread's, until it goes; a body may begin another one inside.
class Passing {
 public:
  explicit Passing(const Pass& pass) : outer_{current_pass} { current_pass = pass; }
  Passing(const Passing&) = delete;
  Passing& operator=(const Passing&) = delete;
  ~Passing() { current_pass = outer_; }

 private:
  const Pass outer_;
};

// Works on `node` and on all that the run has ready, until there is nothing or the pass is over.
void work(RunBlock& block, flow::NodeIndex node, const Pass& pass) {
  const Passing here{pass};
  boundary_ns = 0;
  for (;;) {
    block.run.work_while(node, pass.worker,
                         [&](flow::NodeIndex next) { return pass.allows(block, step_of(block, next)); });
    EachPart* const part = open_part_of(block);
    if (block.run.has_ready() || part == nullptr) return;
    if (block.run.is_open() && !pass.allows(block, *part->spec.step)) return;
    node = work_on(*part, pass.worker);
  }
}

}  // namespace

bool Pass::allows(const RunBlock& block, const StepObject& step) const {
  if (worker != nullptr) {
    return worker->keeps_gate() &&
           (block.service_ns < until_service_ns || !block.runtime->scheduler().lane().has_items());
  }
  if (until_ns == base::kNever) return step.where != StepPlace::kWorker || standing_in_for != nullptr;
  return step.fits(until_ns - (boundary_ns != 0 ? boundary_ns : base::monotonic_ns()));
}

bool RunBlock::has_work() noexcept { return run.has_ready() || open_part_of(*this) != nullptr; }

void RunBlock::Ticket::run(sched::Worker* worker) {
  const bool attach = worker == nullptr && !block.runtime->is_virtual;  // a stand-in
  if (attach) attach_thread();
  if (!take()) {
    drop();
    if (attach) detach_thread();
    return;
  }
  if (block.runtime->is_virtual) {
    run_virtual(block, worker);
  } else if (block.has_work()) {
    const flow::NodeIndex node = block.run.take_ready();
    if (block.has_work() && plan_spreads(block.plan)) post_ticket(&block);
    // Until its service reaches the next level and others may go first, or another worker has the permit.
    work(block, node, {base::kNever, worker, sched::next_level_ns(block.service_ns)});
    if (block.has_work()) post_ticket(&block);
  }
  drop();
  if (attach) detach_thread();
}

void RunBlock::Ticket::complete(base::Outcome) {
  if (take()) {
    cancel_block(&block);
    work(block, flow::kNoNode, {});
  }
  drop();
}

void help_until(RunBlock* block, flow::NodeIndex node, std::int64_t until_ns) {
  work(*block, node, {until_ns});
  if (block->has_work()) post_ticket(block);
}

void go_on_shortly(RunBlock* block, flow::NodeIndex node) {
  if (block->runtime->debug) return go_on_in_order(block, node);
  if (node == flow::kNoNode && !block->has_work()) return;
  if (!block->runtime->is_virtual) return help_until(block, node, base::monotonic_ns() + kShortNs);
  if (node != flow::kNoNode) block->run.offer(node, nullptr);
}

void start_block(RunBlock* block, bool on_loop) {
  block->begun = true;
  if (block->runtime->debug) return start_in_order(block);
  const bool short_here = on_loop && !block->runtime->is_virtual && plan_is_short(block->plan);
  if (short_here && !loop_turn.no_more_steps(block->started_ns)) {
    GuestSlot slot{block->runtime};
    if (slot.granted()) {
      const Ref loop = Ref::borrow(block->loop);  // the run lets go of it when it has fired
      boundary_ns = 0;  // stays so if no step runs here, as all that can begin are launched
      go_on_shortly(block, block->run.begin(nullptr));
      if (boundary_ns != 0) loop_turn.charge(block->started_ns, boundary_ns, loop.get());
      return slot.leave();
    }
  }
  const flow::NodeIndex first = block->run.begin(nullptr);
  if (first == flow::kNoNode) return;
  block->run.offer(first, nullptr);
  post_ticket(block);
}

}  // namespace tailrace::bindings
