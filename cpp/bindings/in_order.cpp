#include "in_order.hpp"

#include <algorithm>

#include "each_part.hpp"
#include "run_block.hpp"

namespace tailrace::bindings {

namespace {

// Out of what is ready, the step that the workflow called first.
flow::NodeIndex take_first(RunBlock* block) {
  std::vector<flow::NodeIndex>& ready = block->in_order->ready;
  for (flow::NodeIndex node = block->run.take_ready(); node != flow::kNoNode; node = block->run.take_ready()) {
    ready.push_back(node);
  }
  if (ready.empty()) return flow::kNoNode;
  const flow::Plan& plan = block->run.plan();
  const auto first = std::min_element(ready.begin(), ready.end(), [&](flow::NodeIndex a, flow::NodeIndex b) {
    return plan.node(a).given < plan.node(b).given;
  });
  const flow::NodeIndex node = *first;
  ready.erase(first);
  return node;
}

// Runs a node here, whatever its kind, and returns a successor to go on with, or kNoNode.
flow::NodeIndex run_node(RunBlock* block, flow::NodeIndex index) {
  boundary_ns = 0;
  flow::Run& run = block->run;
  const flow::Node& node = run.plan().node(index);
  if (!node.launch || !run.is_open()) return run.step(index, nullptr);
  const auto& spec = *static_cast<const NodeSpec*>(node.arg);
  if (spec.step->kind == static_cast<int>(StepKind::kAsync)) {
    launch_async(block, index);
    return flow::kNoNode;
  }
  const base::Verdict verdict = node.body(run, index, node.arg, nullptr);
  return run.finish(index, verdict == base::Verdict::kFailed, nullptr);
}

}  // namespace

void start_in_order(RunBlock* block) {
  block->in_order = std::make_unique<InOrder>();
  InOrder& order = *block->in_order;
  order.looping = true;
  const flow::NodeIndex first = block->run.begin(nullptr);
  order.looping = false;
  go_on_in_order(block, first);
}

void go_on_in_order(RunBlock* block, flow::NodeIndex node) {
  if (block->in_order == nullptr) return;  // every node has fired
  std::vector<flow::NodeIndex>& ready = block->in_order->ready;
  if (node != flow::kNoNode) ready.push_back(node);
  if (block->in_order->looping) return;
  block->run.retain();  // the last node may be the last who holds it
  block->in_order->looping = true;
  // An async step that is not finished runs on the caller's event loop: its end comes back to this function.
  const Pass outer = std::exchange(current_pass, {});
  while (block->in_order != nullptr && block->tokens == nullptr) {
    EachPart* const part = open_part_of(*block);
    const flow::NodeIndex next = part == nullptr ? take_first(block) : flow::kNoNode;
    if (part == nullptr && next == flow::kNoNode) break;
    const flow::NodeIndex after = part != nullptr ? work_on(*part, nullptr) : run_node(block, next);
    if (after != flow::kNoNode) block->in_order->ready.push_back(after);
  }
  current_pass = outer;
  if (block->in_order != nullptr) block->in_order->looping = false;
  block->run.release();
}

}  // namespace tailrace::bindings
