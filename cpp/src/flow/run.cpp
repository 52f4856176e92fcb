#include "tailrace/flow/run.hpp"

#include <cxxabi.h>

#include <new>
#include <utility>
#include <vector>

namespace tailrace::flow {

// What becomes ready together: one to go on with, and a chain for the stack.
struct Run::Batch {
  NodeIndex go_on = kNoNode;
  NodeIndex top = kNoNode;
  NodeIndex bottom = kNoNode;
  std::uint32_t count = 0;
};

Run::Run(const Plan& plan, Host& host, void* memory, Run* parent, NodeIndex parent_node) noexcept
    : plan_{plan},
      host_{host},
      parent_{parent},
      root_ending_{parent == nullptr ? &ending : parent->root_ending_},
      parent_node_{parent_node},
      ranks_{plan.is_weighted() && host.by_rank},
      counters_{static_cast<Counter*>(memory)},
      ready_{reinterpret_cast<Link*>(counters_ + plan.size())},
      ranked_{reinterpret_cast<Ranked::Word*>(reinterpret_cast<Link*>(counters_ + plan.size()) + plan.size()),
              ranks_ ? plan.size() : std::size_t{0}} {
  auto* links = reinterpret_cast<Link*>(counters_ + plan.size());
  for (NodeIndex i = 0; i < plan.size(); ++i) {
    new (&counters_[i]) Counter{};
    counters_[i].arm(plan.node(i).predecessor_count);
    new (&links[i]) Link{0};
  }
  auto* words = reinterpret_cast<Ranked::Word*>(links + plan.size());
  for (std::size_t i = 0; i < (ranks_ ? Ranked::word_count(plan.size()) : 0); ++i) new (&words[i]) Ranked::Word{0};
}

std::size_t Run::memory_bytes(const Plan& plan) noexcept {
  const std::size_t ranked = plan.is_weighted() ? Ranked::word_count(plan.size()) * sizeof(Ranked::Word) : 0;
  return plan.size() * (sizeof(Counter) + sizeof(Link)) + ranked;
}

void Run::open(std::uint32_t references) noexcept {
  ending.rearm();
  if (error_) error_ = nullptr;
  shared_.clear();
  sinks_left_.store(plan_.sink_count(), base::relaxed);  // relaxed: nobody else holds the run yet
  references_.set(references);
}

NodeIndex Run::begin(sched::Worker* worker) {
  shared_.set();
  Batch batch;
  for (const NodeIndex root : plan_.roots()) make_ready(batch, root);
  return go_on_with(batch, worker);
}

NodeIndex Run::step(NodeIndex index, sched::Worker* worker) {
  const Node& node = plan_.node(index);
  if (is_open()) {
    if (node.launch) return host_.launch(*this, index), kNoNode;
    const base::Verdict verdict = node.body(*this, index, node.arg, worker);
    if (verdict == base::Verdict::kDeferred) return offer_part(worker), kNoNode;
    if (verdict == base::Verdict::kFailed) settle(base::Outcome::kFailed);
  }
  if (node.chained) return index + 1;
  return fire(node, worker);
}

NodeIndex Run::finish(NodeIndex index, bool failed, sched::Worker* worker) {
  if (failed) settle(base::Outcome::kFailed);
  return fire(plan_.node(index), worker);
}

// Tells the successors; returns the first that became ready, offers the rest.
NodeIndex Run::fire(const Node& node, sched::Worker* worker) {
  if (node.successor_count == 0) return take_off_sinks(1, worker), kNoNode;
  Batch batch;
  const NodeIndex* successors = plan_.successors(node);
  for (std::uint32_t i = 0; i < node.successor_count; ++i) {
    const NodeIndex next = successors[i];
    const std::uint32_t predecessors = plan_.node(next).predecessor_count;
    if (predecessors == 1 || counters_[next].arrive(predecessors)) make_ready(batch, next);
  }
  return go_on_with(batch, worker);
}

void Run::make_ready(Batch& batch, NodeIndex node) {
  if (plan_.node(node).launch && is_open()) {
    host_.launch(*this, node);
  } else if (batch.go_on == kNoNode) {
    batch.go_on = node;
  } else if (ranks_) {
    ranked_.put(plan_.rank(node));
    batch.top = node;
    ++batch.count;
  } else {
    if (batch.bottom == kNoNode) batch.bottom = node;
    ready_.link(node, batch.top);
    batch.top = node;
    ++batch.count;
  }
}

NodeIndex Run::go_on_with(Batch& batch, sched::Worker* worker) {
  if (batch.count > 0) {
    if (!ranks_) ready_.push(batch.top, batch.bottom);
    host_.offered(*this, batch.top, batch.count, worker);
  }
  return batch.go_on;
}

void Run::take_off_sinks(std::uint32_t count, sched::Worker* worker) {
  // [K1] acq_rel: the last sink sees all that the run has written. Pairs with itself.
  if (sinks_left_.fetch_sub(count, base::acq_rel) == count) all_fired(worker);
}

void Run::all_fired(sched::Worker* worker) {
  if (parent_ == nullptr) {
    settle(base::Outcome::kOk);
  } else {
    const NodeIndex next = parent_->finish(parent_node_, false, worker);
    if (next != kNoNode) parent_->offer(next, worker);
  }
  host_.fired(*this);
}

void Run::give_back(NodeIndex node) {
  if (ranks_) {
    ranked_.put(plan_.rank(node));
  } else {
    ready_.push(node, node);
  }
}

void Run::offer(NodeIndex node, sched::Worker* worker) {
  give_back(node);
  host_.offered(*this, node, 1, worker);
}

NodeIndex Run::pop_ready() {
  if (!ranks_) return ready_.pop();
  const std::uint32_t rank = ranked_.take();
  return rank == Ranked::kNone ? kNoNode : plan_.at_rank(rank);
}

NodeIndex Run::take_ready() {
  if (!has_ready()) return kNoNode;  // a push we miss is made by a participant who looks after us
  return host_.random != nullptr || host_.oldest_first ? take_virtual() : pop_ready();
}

NodeIndex Run::take_virtual() {
  std::vector<NodeIndex> all;  // the newest first
  for (NodeIndex node = pop_ready(); node != kNoNode; node = pop_ready()) all.push_back(node);
  if (all.empty()) return kNoNode;
  const std::size_t chosen =
      host_.oldest_first ? all.size() - 1 : host_.random->below(static_cast<std::uint32_t>(all.size()));
  for (std::size_t i = all.size(); i-- > 0;) {
    if (i != chosen) give_back(all[i]);
  }
  return all[chosen];
}

bool Run::settle(base::Outcome outcome) {
  if (parent_ != nullptr) return parent_->settle(outcome);
  if (!ending.fix(outcome)) return false;
  conclude(outcome);
  return true;
}

void Run::fail(std::exception_ptr error) {
  if (parent_ != nullptr) return parent_->fail(std::move(error));
  if (!ending.fix(base::Outcome::kFailed)) return;
  error_ = std::move(error);
  conclude(base::Outcome::kFailed);
}

void Run::conclude(base::Outcome outcome) {
  host_.settled(*this, outcome);
  if (outcome != base::Outcome::kOk) cancel_list_.call_all();
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
  if (references_.release()) host_.released(*this);
}

}  // namespace tailrace::flow
