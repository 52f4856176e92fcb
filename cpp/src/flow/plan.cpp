#include "tailrace/flow/plan.hpp"

#include <algorithm>

namespace tailrace::flow {

namespace {

std::string describe(const std::vector<NodeIndex>& nodes) {
  std::string text = "tailrace: the plan has a cycle: ";
  for (const NodeIndex node : nodes) text += std::to_string(node) + " -> ";
  return text + std::to_string(nodes.front());
}

}  // namespace

CycleError::CycleError(std::vector<NodeIndex> nodes)
    : std::invalid_argument{describe(nodes)}, nodes_{std::move(nodes)} {}

NodeIndex PlanBuilder::add(Body body, void* arg, Kind kind) {
  nodes_.push_back({body, arg, kind});
  return static_cast<NodeIndex>(nodes_.size() - 1);
}

void PlanBuilder::expect(const void* request) {
  if (request_ != nullptr && request_ != request) {
    throw std::invalid_argument{
        "tailrace: this step takes another type of request than the steps before it; a plan has one"};
  }
  request_ = request;
}

void PlanBuilder::edge(NodeIndex before, NodeIndex after) {
  if (before >= nodes_.size() || after >= nodes_.size()) {
    throw std::out_of_range{"tailrace: an edge names node " + std::to_string(std::max(before, after)) +
                            ", but the plan has " + std::to_string(nodes_.size())};
  }
  edges_.emplace_back(before, after);
}

Plan PlanBuilder::compile() const {
  if (nodes_.empty()) throw std::invalid_argument{"tailrace: a plan needs at least one node"};
  const auto n = static_cast<NodeIndex>(nodes_.size());

  auto edges = edges_;
  std::sort(edges.begin(), edges.end());
  edges.erase(std::unique(edges.begin(), edges.end()), edges.end());
  std::vector<std::uint32_t> first(n + 1, 0);
  std::vector<std::uint32_t> waiting(n, 0);
  for (const auto& [before, after] : edges) {
    ++first[before + 1];
    ++waiting[after];
  }
  for (NodeIndex i = 0; i < n; ++i) first[i + 1] += first[i];

  // Depth first among the ready: a chain's nodes end up side by side in memory.
  Plan plan;
  plan.request_ = request_;
  plan.places_.assign(n, kNoNode);
  const auto predecessors = waiting;
  std::vector<NodeIndex> order;
  std::vector<NodeIndex> ready;
  for (NodeIndex i = n; i-- > 0;) {
    if (waiting[i] == 0) ready.push_back(i);
  }
  while (!ready.empty()) {
    const NodeIndex node = ready.back();
    ready.pop_back();
    plan.places_[node] = static_cast<NodeIndex>(order.size());
    order.push_back(node);
    for (std::uint32_t e = first[node + 1]; e-- > first[node];) {
      if (--waiting[edges[e].second] == 0) ready.push_back(edges[e].second);
    }
  }
  if (order.size() != n) throw CycleError{cycle_among(waiting)};

  for (const NodeIndex given : order) {
    Node node{};
    node.body = nodes_[given].body;
    node.arg = nodes_[given].arg;
    node.first_successor = static_cast<NodeIndex>(plan.successors_.size());
    node.successor_count = first[given + 1] - first[given];
    node.predecessor_count = predecessors[given] & 0x7fffffffu;
    node.launch = nodes_[given].kind == Kind::kLaunch;
    node.given = given;
    for (std::uint32_t e = first[given]; e < first[given + 1]; ++e) {
      plan.successors_.push_back(plan.places_[edges[e].second]);
    }
    if (node.successor_count == 0) ++plan.sinks_;
    if (node.predecessor_count == 0) plan.roots_.push_back(static_cast<NodeIndex>(plan.nodes_.size()));
    plan.nodes_.push_back(node);
  }
  return plan;
}

// Every node that still waits has a predecessor that still waits: walking back must meet a node twice.
std::vector<NodeIndex> PlanBuilder::cycle_among(const std::vector<std::uint32_t>& waiting) const {
  std::vector<NodeIndex> back(nodes_.size(), kNoNode);
  for (const auto& [before, after] : edges_) {
    if (waiting[before] != 0 && waiting[after] != 0) back[after] = before;
  }
  NodeIndex at = 0;
  while (waiting[at] == 0 || back[at] == kNoNode) ++at;
  std::vector<bool> met(nodes_.size(), false);
  while (!met[at]) {
    met[at] = true;
    at = back[at];
  }
  std::vector<NodeIndex> cycle;
  for (NodeIndex node = back[at]; node != at; node = back[node]) cycle.push_back(node);
  cycle.push_back(at);
  std::reverse(cycle.begin(), cycle.end());
  return cycle;
}

}  // namespace tailrace::flow
