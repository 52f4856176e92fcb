// plan.hpp -- a graph of steps, compiled once into an immutable table.
//
// What      `PlanBuilder` collects nodes, edges and weights; `Plan` is their compressed sparse rows, numbered in an
//           order that one thread can run from front to back.
// Why       What does not change from run to run is decided here: order, roots, sinks, chains, which edges need no
//           counter, which of several ready nodes is the most urgent (its b-level: the longest way to an end).
// Threads   A builder has one owner. A plan never changes: any thread.
// Source    Kahn 1962, "Topological Sorting of Large Networks" (the order, and the cycle it finds); Hu 1961, "Parallel
//           Sequencing and Assembly Line Problems" (the b-level).
// Checked   tests/cpp/flow/test_plan.cpp.
#pragma once

#include <cstdint>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "tailrace/base/outcome.hpp"

namespace tailrace::sched {
class Worker;
}

namespace tailrace::flow {

class Run;
using NodeIndex = std::uint32_t;
inline constexpr NodeIndex kNoNode = UINT32_MAX;

// The body of a node. `worker` is null on a thread that helps. Must not throw.
using Body = base::Verdict (*)(Run& run, NodeIndex node, void* arg, sched::Worker* worker);

// For a body's catch block: fails the run with what was thrown. A forced unwind goes on.
base::Verdict fail_with_current_exception(Run& run);

// An address that stands for a type.
template <class Request>
const void* request_type() noexcept {
  static const char type = 0;
  return &type;
}

enum class Kind : std::uint8_t {
  kInline,   // runs where it becomes ready
  kLaunch,   // the host starts it somewhere else, and it is finished later (Host::launch)
};

struct Node {  // 32 bytes; an edge is 4 more
  Body body;
  void* arg;
  NodeIndex first_successor;  // into Plan::successors
  std::uint32_t successor_count;
  std::uint32_t predecessor_count : 30;
  std::uint32_t launch : 1;   // Kind::kLaunch
  std::uint32_t chained : 1;  // the next node in the plan is its only successor, and it is that one's only predecessor
  NodeIndex given;  // the number that PlanBuilder::add returned
};
static_assert(sizeof(Node) == 32);

// What a plan may have at most. A builder may ask for less, never for more than these.
struct PlanLimits {
  std::uint32_t nodes = 1u << 30;
  std::uint32_t edges = UINT32_MAX;  // an edge is found by a 32-bit number
  std::uint32_t depth = 1u << 30;  // nodes on the longest path
};

// A graph that cannot be run, with the numbers of the nodes that form a cycle, in order.
class CycleError : public std::invalid_argument {
 public:
  explicit CycleError(std::vector<NodeIndex> nodes);
  const std::vector<NodeIndex>& nodes() const noexcept { return nodes_; }

 private:
  std::vector<NodeIndex> nodes_;
};

class Plan {
 public:
  const Node& node(NodeIndex i) const noexcept { return nodes_[i]; }
  // The most urgent first.
  const NodeIndex* successors(const Node& node) const noexcept { return successors_.data() + node.first_successor; }
  NodeIndex size() const noexcept { return static_cast<NodeIndex>(nodes_.size()); }
  NodeIndex sink_count() const noexcept { return sinks_; }
  const std::vector<NodeIndex>& roots() const noexcept { return roots_; }
  std::size_t edge_count() const noexcept { return successors_.size(); }
  // Which type of request the steps take (request_type<Request>()); null when none takes one.
  const void* request() const noexcept { return request_; }
  // From the builder's number to the place in the plan.
  NodeIndex place_of(NodeIndex given) const noexcept { return places_[given]; }
  bool has_launches() const noexcept { return has_launches_; }
  NodeIndex depth() const noexcept { return depth_; }

  // Only a plan whose builder was told weights has these tables, 16 bytes a node.
  bool is_weighted() const noexcept { return !weights_ns_.empty(); }
  std::int64_t weight_ns(NodeIndex i) const noexcept { return weights_ns_[i]; }
  NodeIndex rank(NodeIndex i) const noexcept { return ranks_[i]; }  // 0: the most urgent of all
  NodeIndex at_rank(NodeIndex rank) const noexcept { return by_rank_[rank]; }

 private:
  friend class PlanBuilder;
  friend class Compiler;

  std::vector<Node> nodes_;
  std::vector<NodeIndex> successors_;
  std::vector<NodeIndex> roots_;
  std::vector<NodeIndex> places_;
  std::vector<std::int64_t> weights_ns_;
  std::vector<NodeIndex> ranks_;
  std::vector<NodeIndex> by_rank_;
  NodeIndex sinks_ = 0;
  NodeIndex depth_ = 0;
  bool has_launches_ = false;
  const void* request_ = nullptr;
};

class PlanBuilder {
 public:
  // Throws std::invalid_argument for limits of zero, or above those that PlanLimits starts with.
  explicit PlanBuilder(PlanLimits limits = {});

  // Adds a node and returns its number, counted from 0. Throws std::length_error when the plan is full.
  NodeIndex add(Body body, void* arg, Kind kind = Kind::kInline);

  // Adds a node that calls `fn()`; `fn` must outlive every run. What it throws fails the run (Run::error).
  template <class Fn>
  NodeIndex add(Fn& fn) {
    const Body body = [](Run& run, NodeIndex, void* arg, sched::Worker*) {
      try {
        (*static_cast<Fn*>(arg))();
      } catch (...) {
        return fail_with_current_exception(run);
      }
      return base::Verdict::kDone;
    };
    return add(body, &fn);
  }

  // Adds a node that calls `Step` with the request of its run: `add<&Request::rank>()`, or a function of `Request&`
  // (flow/step.hpp). Throws std::invalid_argument when an earlier step takes another type of request.
  template <auto Step>
  NodeIndex add();

  // `after` starts when `before` is finished. Throws std::out_of_range for an unknown node, CycleError for a node that
  // would wait for itself, std::length_error when the plan is full.
  void edge(NodeIndex before, NodeIndex after);

  // How long the node takes, as far as is known (1 by default): decides which of several ready nodes goes first, and is
  // what it costs on a virtual scheduler. Throws std::out_of_range, std::invalid_argument for a weight below zero.
  void weigh(NodeIndex node, std::int64_t weight_ns);

  // Throws CycleError, std::invalid_argument for a plan without nodes, std::length_error for one that is too deep.
  Plan compile() const;

 private:
  friend class Compiler;

  struct Draft {
    Body body;
    void* arg;
    Kind kind;
    std::int64_t weight_ns;
  };
  void check_known(NodeIndex node, const char* what) const;
  void expect(const void* request);

  PlanLimits limits_;
  std::vector<Draft> nodes_;
  std::vector<std::pair<NodeIndex, NodeIndex>> edges_;
  bool weighted_ = false;
  const void* request_ = nullptr;
};

}  // namespace tailrace::flow
