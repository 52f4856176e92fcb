// plan.hpp -- a graph of steps, compiled once into an immutable table.
//
// What      `PlanBuilder` collects nodes and edges; `Plan` is their compressed sparse rows in topological order.
// Why       What does not change from run to run is decided here: order, roots, sinks, which edges need no counter.
// Threads   A builder has one owner. A plan never changes: any thread.
// Source    Kahn 1962, "Topological Sorting of Large Networks" (the order, and the cycle it finds).
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
  std::uint32_t predecessor_count : 31;
  std::uint32_t launch : 1;  // Kind::kLaunch
  NodeIndex given;           // the number that PlanBuilder::add returned
};
static_assert(sizeof(Node) == 32);

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
  const NodeIndex* successors(const Node& node) const noexcept { return successors_.data() + node.first_successor; }
  NodeIndex size() const noexcept { return static_cast<NodeIndex>(nodes_.size()); }
  NodeIndex sink_count() const noexcept { return sinks_; }
  const std::vector<NodeIndex>& roots() const noexcept { return roots_; }
  std::size_t edge_count() const noexcept { return successors_.size(); }
  // Which type of request the steps take (request_type<Request>()); null when none takes one.
  const void* request() const noexcept { return request_; }
  // From the builder's number to the place in the plan.
  NodeIndex place_of(NodeIndex given) const noexcept { return places_[given]; }

 private:
  friend class PlanBuilder;

  std::vector<Node> nodes_;
  std::vector<NodeIndex> successors_;
  std::vector<NodeIndex> roots_;
  std::vector<NodeIndex> places_;
  NodeIndex sinks_ = 0;
  const void* request_ = nullptr;
};

class PlanBuilder {
 public:
  // Adds a node and returns its number, counted from 0.
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

  // `after` starts when `before` is finished. Throws std::out_of_range for an unknown node.
  void edge(NodeIndex before, NodeIndex after);

  // Throws CycleError, or std::invalid_argument for a plan without nodes.
  Plan compile() const;

 private:
  struct Draft {
    Body body;
    void* arg;
    Kind kind;
  };
  std::vector<NodeIndex> cycle_among(const std::vector<std::uint32_t>& waiting) const;
  void expect(const void* request);

  std::vector<Draft> nodes_;
  std::vector<std::pair<NodeIndex, NodeIndex>> edges_;
  const void* request_ = nullptr;
};

}  // namespace tailrace::flow
