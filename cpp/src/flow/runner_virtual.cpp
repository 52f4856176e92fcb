// Native plans on a virtual scheduler: a node takes the time that it weighs, and its worker nothing else meanwhile.
#include <algorithm>
#include <stdexcept>

#include "tailrace/flow/runner_block.hpp"

namespace tailrace::flow {

// The end of a body that takes time.
struct Runner::VirtualEnd final : sched::Timer {
  VirtualEnd(Block& b, NodeIndex n, bool f) : block{b}, node{n}, failed{f} {}
  void fire() override {
    Block& b = block;
    const NodeIndex next = b.run.finish(node, failed, nullptr);
    if (next != kNoNode) b.run.offer(next, nullptr);
    delete this;
    b.run.release();
  }
  Block& block;
  const NodeIndex node;
  const bool failed;
};

// One invitation at a time, one node each: so that a node is chosen when a worker is free for it, not before.
void Runner::invite_virtual(Block& block) {
  if (block.invited.exchange(true, base::relaxed)) return;  // relaxed: one thread drives
  block.run.retain();
  scheduler_.submit([&block](sched::Worker* worker) {
    block.invited.store(false, base::relaxed);  // relaxed: as above
    if (worker != nullptr) block.runner.run_virtual(block, *worker);
    block.run.release();
  });
}

void Runner::run_virtual(Block& block, sched::Worker& worker) {
  Run& run = block.run;
  const NodeIndex index = run.take_ready();
  if (index == kNoNode) return;
  const Node& node = run.plan().node(index);
  if (run.minds_time) mind_time(run);
  const bool is_open = run.is_open();
  const base::Verdict verdict = is_open ? node.body(run, index, node.arg, &worker) : base::Verdict::kDone;
  const std::int64_t cost_ns = is_open && run.plan().is_weighted() ? run.plan().weight_ns(index) : 0;
  if (cost_ns > 0) worker.virtual_busy_until_ns = scheduler_.clock().now_ns() + cost_ns;
  if (verdict == base::Verdict::kDeferred) {
    run.offer_part(&worker);
  } else if (cost_ns > 0) {
    run.retain();
    scheduler_.arm(*new VirtualEnd{block, index, verdict == base::Verdict::kFailed}, worker.virtual_busy_until_ns);
  } else {
    const NodeIndex next = run.finish(index, verdict == base::Verdict::kFailed, &worker);
    if (next != kNoNode) run.offer(next, &worker);
  }
  if (run.has_ready()) invite_virtual(block);
}

// Whoever waits is the one thread there is.
void Runner::drive(std::int64_t until_ns) {
  if (scheduler_.drive_once()) return;
  const std::int64_t next = std::min(scheduler_.next_event_ns(), until_ns);
  if (next == base::kNever) throw std::logic_error{"tailrace: stalled: nothing can run, and no timer is armed"};
  scheduler_.virtual_clock().advance_to(next);
}

}  // namespace tailrace::flow
