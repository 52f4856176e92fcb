#include "tailrace/flow/run.hpp"

#include <cxxabi.h>

#include <new>
#include <utility>
#include <vector>

namespace tailrace::flow {

Run::Run(const Plan& plan, Host& host, void* memory) noexcept
    : plan_{plan},
      host_{host},
      counters_{static_cast<Counter*>(memory)},
      ready_{reinterpret_cast<Link*>(counters_ + plan.size())} {
  auto* links = reinterpret_cast<Link*>(counters_ + plan.size());
  for (NodeIndex i = 0; i < plan.size(); ++i) {
    new (&counters_[i]) Counter{};
    counters_[i].arm(plan.node(i).predecessor_count);
    new (&links[i]) Link{0};
  }
}

void Run::open(std::uint32_t references) noexcept {
  ending.rearm();
  if (error_) error_ = nullptr;
  sinks_left_.store(plan_.sink_count(), base::relaxed);  // relaxed (both): nobody else holds the run yet
  references_.store(references, base::relaxed);
}

NodeIndex Run::begin(sched::Worker* worker) {
  NodeIndex go_on = kNoNode;
  NodeIndex top = kNoNode;
  NodeIndex bottom = kNoNode;
  std::uint32_t count = 0;
  for (const NodeIndex root : plan_.roots()) {
    if (plan_.node(root).launch) {
      host_.launch(*this, root);
    } else if (go_on == kNoNode) {
      go_on = root;
    } else {
      if (bottom == kNoNode) bottom = root;
      ready_.link(root, top);
      top = root;
      ++count;
    }
  }
  if (count > 0) {
    ready_.push(top, bottom);
    host_.offered(*this, top, count, worker);
  }
  return go_on;
}

NodeIndex Run::step(NodeIndex index, sched::Worker* worker) {
  const Node& node = plan_.node(index);
  if (ending.is_open()) {
    if (node.launch) return host_.launch(*this, index), kNoNode;
    const base::Verdict verdict = node.body(*this, index, node.arg, worker);
    if (verdict == base::Verdict::kDeferred) return kNoNode;
    if (verdict == base::Verdict::kFailed) settle(base::Outcome::kFailed);
  }
  if (node.successor_count == 1) {  // a link of a chain: no counter, no offer
    const NodeIndex next = *plan_.successors(node);
    const Node& successor = plan_.node(next);
    if (successor.predecessor_count == 1 && !successor.launch) return next;
  }
  return fire(node, worker);
}

NodeIndex Run::finish(NodeIndex index, bool failed, sched::Worker* worker) {
  if (failed) settle(base::Outcome::kFailed);
  return fire(plan_.node(index), worker);
}

// Tells the successors; returns the first that became ready, offers the rest.
NodeIndex Run::fire(const Node& node, sched::Worker* worker) {
  if (node.successor_count == 0) {
    // [K1] acq_rel: the last sink sees all that the run has written. Pairs with itself.
    if (sinks_left_.fetch_sub(1, base::acq_rel) == 1) {
      settle(base::Outcome::kOk);
      host_.fired(*this);
    }
    return kNoNode;
  }
  NodeIndex go_on = kNoNode;
  NodeIndex top = kNoNode;
  NodeIndex bottom = kNoNode;
  std::uint32_t count = 0;
  const NodeIndex* successors = plan_.successors(node);
  for (std::uint32_t i = 0; i < node.successor_count; ++i) {
    const NodeIndex next = successors[i];
    const Node& successor = plan_.node(next);
    if (successor.predecessor_count != 1 && !counters_[next].arrive(successor.predecessor_count)) continue;
    if (successor.launch && ending.is_open()) {
      host_.launch(*this, next);
    } else if (go_on == kNoNode) {
      go_on = next;
    } else {
      if (bottom == kNoNode) bottom = next;
      ready_.link(next, top);
      top = next;
      ++count;
    }
  }
  if (count > 0) {
    ready_.push(top, bottom);
    host_.offered(*this, top, count, worker);
  }
  return go_on;
}

void Run::offer(NodeIndex node, sched::Worker* worker) {
  ready_.push(node, node);
  host_.offered(*this, node, 1, worker);
}

NodeIndex Run::take_ready() {
  if (ready_.empty()) return kNoNode;  // a push we miss is made by a participant who looks after us
  return host_.random != nullptr ? take_random() : ready_.pop();
}

NodeIndex Run::take_random() {
  std::vector<NodeIndex> all;
  for (NodeIndex node = ready_.pop(); node != kNoNode; node = ready_.pop()) all.push_back(node);
  if (all.empty()) return kNoNode;
  const std::size_t chosen = host_.random->below(static_cast<std::uint32_t>(all.size()));
  for (std::size_t i = 0; i < all.size(); ++i) {
    if (i != chosen) give_back(all[i]);
  }
  return all[chosen];
}

bool Run::settle(base::Outcome outcome) {
  if (!ending.fix(outcome)) return false;
  conclude(outcome);
  return true;
}

void Run::fail(std::exception_ptr error) {
  if (!ending.fix(base::Outcome::kFailed)) return;
  error_ = std::move(error);
  conclude(base::Outcome::kFailed);
}

void Run::conclude(base::Outcome outcome) {
  host_.settled(*this, outcome);
  ending.announce();
}

base::Verdict fail_with_current_exception(Run& run) {
  try {
    throw;
  } catch (const abi::__forced_unwind&) {
    throw;  // a thread that is being cancelled
  } catch (...) {
    run.fail(std::current_exception());
  }
  return base::Verdict::kFailed;
}

void Run::release() {
  // [K2] acq_rel: the last holder sees what all others did before it gives the block away. Pairs with itself.
  if (references_.fetch_sub(1, base::acq_rel) == 1) host_.released(*this);
}

}  // namespace tailrace::flow
