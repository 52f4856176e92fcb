#include "tailrace/flow/plan.hpp"

#include <algorithm>
#include <numeric>

namespace tailrace::flow {

namespace {

std::string describe(const std::vector<NodeIndex>& nodes) {
  std::string text = "tailrace: the plan has a cycle: ";
  for (const NodeIndex node : nodes) text += std::to_string(node) + " -> ";
  return text + std::to_string(nodes.front());
}

void check_limit(const char* what, std::uint32_t given, std::uint32_t most) {
  if (given >= 1 && given <= most) return;
  throw std::invalid_argument{"tailrace: PlanLimits::" + std::string{what} + " must be 1 to " + std::to_string(most) +
                              ", got " + std::to_string(given)};
}

[[noreturn]] void full(const char* what, std::uint32_t most) {
  throw std::length_error{"tailrace: this plan may have at most " + std::to_string(most) + " " + what +
                          " (PlanLimits); split it into plans that run one after another"};
}

}  // namespace

CycleError::CycleError(std::vector<NodeIndex> nodes)
    : std::invalid_argument{describe(nodes)}, nodes_{std::move(nodes)} {}

PlanBuilder::PlanBuilder(PlanLimits limits) : limits_{limits} {
  const PlanLimits most;
  check_limit("nodes", limits.nodes, most.nodes);
  check_limit("edges", limits.edges, most.edges);
  check_limit("depth", limits.depth, most.depth);
}

NodeIndex PlanBuilder::add(Body body, void* arg, Kind kind) {
  if (nodes_.size() == limits_.nodes) full("nodes", limits_.nodes);
  nodes_.push_back({body, arg, kind, 1});
  return static_cast<NodeIndex>(nodes_.size() - 1);
}

void PlanBuilder::expect(const void* request) {
  if (request_ != nullptr && request_ != request) {
    throw std::invalid_argument{
        "tailrace: this step takes another type of request than the steps before it; a plan has one"};
  }
  request_ = request;
}

void PlanBuilder::check_known(NodeIndex node, const char* what) const {
  if (node < nodes_.size()) return;
  throw std::out_of_range{"tailrace: " + std::string{what} + " names node " + std::to_string(node) +
                          ", but the plan has " + std::to_string(nodes_.size()) +
                          "; PlanBuilder::add returns the numbers, from 0"};
}

void PlanBuilder::edge(NodeIndex before, NodeIndex after) {
  check_known(std::max(before, after), "an edge");
  if (before == after) throw CycleError{{before}};
  if (edges_.size() == limits_.edges) full("edges", limits_.edges);
  edges_.emplace_back(before, after);
}

void PlanBuilder::weigh(NodeIndex node, std::int64_t weight_ns) {
  check_known(node, "a weight");
  if (weight_ns < 0) {
    throw std::invalid_argument{"tailrace: the weight of node " + std::to_string(node) + " must be 0 or more, got " +
                                std::to_string(weight_ns)};
  }
  nodes_[node].weight_ns = weight_ns;
  weighted_ = true;
}

// What compile() works out, step by step.
class Compiler {
 public:
  explicit Compiler(const PlanBuilder& draft)
      : draft_{draft}, n_{static_cast<NodeIndex>(draft.nodes_.size())}, first_(n_ + 1, 0), predecessors_(n_, 0) {}

  Plan compile() {
    read_edges();
    sort_topologically();
    find_urgency();
    if (depth_ > draft_.limits_.depth) full("nodes on its longest path", draft_.limits_.depth);
    place();
    lay_out();
    if (draft_.weighted_) rank();
    return std::move(plan_);
  }

 private:
  void read_edges() {
    auto edges = draft_.edges_;
    std::sort(edges.begin(), edges.end());
    edges.erase(std::unique(edges.begin(), edges.end()), edges.end());
    after_.reserve(edges.size());
    for (const auto& [before, after] : edges) {
      ++first_[before + 1];
      ++predecessors_[after];
      after_.push_back(after);
    }
    std::partial_sum(first_.begin(), first_.end(), first_.begin());
  }

  // Calls `visit` in a topological order, always with the node that became ready last.
  template <class Visit>
  std::vector<std::uint32_t> walk(Visit&& visit, const std::vector<NodeIndex>& roots) {
    auto waiting = predecessors_;
    auto ready = roots;
    while (!ready.empty()) {
      const NodeIndex node = ready.back();
      ready.pop_back();
      visit(node);
      for (std::uint32_t e = first_[node + 1]; e-- > first_[node];) {
        if (--waiting[after_[e]] == 0) ready.push_back(after_[e]);
      }
    }
    return waiting;
  }

  void sort_topologically() {
    for (NodeIndex i = n_; i-- > 0;) {
      if (predecessors_[i] == 0) roots_.push_back(i);
    }
    order_.reserve(n_);
    const auto waiting = walk([&](NodeIndex node) { order_.push_back(node); }, roots_);
    if (order_.size() != n_) throw CycleError{cycle_among(waiting)};
  }

  // The b-level of each node: its weight and the heaviest way from it to an end.
  void find_urgency() {
    urgency_.assign(n_, 0);
    std::vector<NodeIndex> height(n_, 0);
    for (NodeIndex k = n_; k-- > 0;) {
      const NodeIndex node = order_[k];
      for (std::uint32_t e = first_[node]; e < first_[node + 1]; ++e) {
        urgency_[node] = std::max(urgency_[node], urgency_[after_[e]]);
        height[node] = std::max(height[node], height[after_[e]]);
      }
      urgency_[node] += draft_.nodes_[node].weight_ns;
      depth_ = std::max(depth_, ++height[node]);
    }
  }

  // The order in the plan: depth first, the most urgent first. A chain's nodes end up side by side.
  void place() {
    const auto urgent = [this](NodeIndex a, NodeIndex b) {
      return urgency_[a] != urgency_[b] ? urgency_[a] > urgency_[b] : a < b;
    };
    for (NodeIndex i = 0; i < n_; ++i) std::sort(after_.begin() + first_[i], after_.begin() + first_[i + 1], urgent);
    std::sort(roots_.begin(), roots_.end(), [&](NodeIndex a, NodeIndex b) { return urgent(b, a); });
    plan_.places_.assign(n_, kNoNode);
    order_.clear();
    walk(
        [&](NodeIndex node) {
          plan_.places_[node] = static_cast<NodeIndex>(order_.size());
          order_.push_back(node);
        },
        roots_);
  }

  void lay_out() {
    plan_.depth_ = depth_;
    plan_.request_ = draft_.request_;
    plan_.nodes_.reserve(n_);
    plan_.successors_.reserve(after_.size());
    for (const NodeIndex given : order_) {
      Node node{};
      node.body = draft_.nodes_[given].body;
      node.arg = draft_.nodes_[given].arg;
      node.first_successor = static_cast<NodeIndex>(plan_.successors_.size());
      node.successor_count = first_[given + 1] - first_[given];
      node.predecessor_count = predecessors_[given] & 0x3fffffffu;
      node.launch = draft_.nodes_[given].kind == Kind::kLaunch;
      node.given = given;
      if (node.successor_count == 1) {
        const NodeIndex next = after_[first_[given]];
        node.chained = predecessors_[next] == 1 && draft_.nodes_[next].kind == Kind::kInline;
      }
      for (std::uint32_t e = first_[given]; e < first_[given + 1]; ++e) {
        plan_.successors_.push_back(plan_.places_[after_[e]]);
      }
      if (node.successor_count == 0) ++plan_.sinks_;
      if (node.predecessor_count == 0) plan_.roots_.push_back(static_cast<NodeIndex>(plan_.nodes_.size()));
      plan_.has_launches_ = plan_.has_launches_ || node.launch;
      plan_.nodes_.push_back(node);
    }
  }

  void rank() {
    plan_.by_rank_.resize(n_);
    std::iota(plan_.by_rank_.begin(), plan_.by_rank_.end(), 0u);
    std::stable_sort(plan_.by_rank_.begin(), plan_.by_rank_.end(),
                     [&](NodeIndex a, NodeIndex b) { return urgency_[order_[a]] > urgency_[order_[b]]; });
    plan_.ranks_.resize(n_);
    for (NodeIndex r = 0; r < n_; ++r) plan_.ranks_[plan_.by_rank_[r]] = r;
    for (const NodeIndex given : order_) plan_.weights_ns_.push_back(draft_.nodes_[given].weight_ns);
  }

  // Every node that still waits has a predecessor that still waits: walking back must meet a node twice.
  std::vector<NodeIndex> cycle_among(const std::vector<std::uint32_t>& waiting) const {
    std::vector<NodeIndex> back(n_, kNoNode);
    for (const auto& [before, after] : draft_.edges_) {
      if (waiting[before] != 0 && waiting[after] != 0) back[after] = before;
    }
    NodeIndex at = 0;
    while (waiting[at] == 0 || back[at] == kNoNode) ++at;
    std::vector<bool> met(n_, false);
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

  const PlanBuilder& draft_;
  const NodeIndex n_;
  std::vector<std::uint32_t> first_;  // of a node's edges in after_
  std::vector<NodeIndex> after_;
  std::vector<std::uint32_t> predecessors_;
  std::vector<NodeIndex> roots_;  // the last goes first
  std::vector<NodeIndex> order_;
  std::vector<std::int64_t> urgency_;
  NodeIndex depth_ = 0;
  Plan plan_;
};

Plan PlanBuilder::compile() const {
  if (nodes_.empty()) {
    throw std::invalid_argument{"tailrace: a plan needs at least one node; add one with PlanBuilder::add"};
  }
  return Compiler{*this}.compile();
}

}  // namespace tailrace::flow
