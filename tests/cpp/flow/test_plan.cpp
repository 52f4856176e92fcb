// test_plan.cpp -- graphs become tables; what is no graph is refused with its reason.
#include <string>

#include "../harness.hpp"
#include "tailrace/flow/plan.hpp"

namespace {

using namespace tailrace::flow;

tailrace::base::Verdict done(Run&, NodeIndex, void*, tailrace::sched::Worker*) {
  return tailrace::base::Verdict::kDone;
}

TEST(a_plan_is_in_topological_order_and_knows_its_roots_and_sinks) {
  PlanBuilder builder;
  for (int i = 0; i < 5; ++i) builder.add(&done, nullptr);
  builder.edge(4, 2);
  builder.edge(2, 0);
  builder.edge(2, 1);
  builder.edge(0, 3);
  builder.edge(1, 3);
  builder.edge(1, 3);  // twice is once
  const Plan plan = builder.compile();
  CHECK_EQ(plan.size(), 5u);
  CHECK_EQ(plan.edge_count(), 5u);
  CHECK_EQ(plan.sink_count(), 1u);
  CHECK_EQ(plan.roots().size(), 1u);
  for (NodeIndex i = 0; i < plan.size(); ++i) {
    const Node& node = plan.node(i);
    CHECK_EQ(plan.place_of(node.given), i);
    for (NodeIndex s = 0; s < node.successor_count; ++s) CHECK(plan.successors(node)[s] > i);
  }
  CHECK_EQ(plan.node(plan.place_of(3)).predecessor_count, 2u);
}

TEST(a_cycle_is_refused_and_named) {
  PlanBuilder builder;
  for (int i = 0; i < 4; ++i) builder.add(&done, nullptr);
  builder.edge(0, 1);
  builder.edge(1, 2);
  builder.edge(2, 1);
  bool thrown = false;
  try {
    builder.compile();
  } catch (const CycleError& error) {
    thrown = true;
    CHECK_EQ(error.nodes().size(), 2u);
    CHECK(std::string{error.what()}.find("cycle") != std::string::npos);
  }
  CHECK(thrown);
}

TEST(a_node_that_waits_for_itself_is_a_cycle) {
  PlanBuilder builder;
  builder.add(&done, nullptr);
  CHECK_THROWS(CycleError, builder.edge(0, 0));
}

TEST(an_empty_plan_and_an_edge_to_nowhere_are_refused) {
  PlanBuilder builder;
  CHECK_THROWS(std::invalid_argument, builder.compile());
  builder.add(&done, nullptr);
  CHECK_THROWS(std::out_of_range, builder.edge(0, 1));
}

// What `make` throws, as text.
template <class Error, class Make>
std::string refusal(Make&& make) {
  try {
    make();
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

bool says(const std::string& text, const char* part) { return text.find(part) != std::string::npos; }

TEST(a_chain_lies_side_by_side_and_is_marked) {
  PlanBuilder builder;
  for (int i = 0; i < 6; ++i) builder.add(&done, nullptr);
  for (const auto& [before, after] : {std::pair{0, 3}, {3, 5}, {5, 1}, {1, 2}, {1, 4}}) {
    builder.edge(static_cast<NodeIndex>(before), static_cast<NodeIndex>(after));
  }
  const Plan plan = builder.compile();
  NodeIndex place = plan.place_of(0);
  for (const NodeIndex given : {3u, 5u, 1u}) {
    CHECK(plan.node(place).chained != 0);
    CHECK_EQ(plan.place_of(given), ++place);
  }
  CHECK(plan.node(place).chained == 0);
  CHECK_EQ(plan.depth(), 5u);
}

TEST(a_node_that_is_launched_or_has_two_predecessors_is_no_link_of_a_chain) {
  PlanBuilder builder;
  for (int i = 0; i < 3; ++i) builder.add(&done, nullptr);
  builder.add(&done, nullptr, Kind::kLaunch);
  builder.edge(0, 2);
  builder.edge(1, 2);
  builder.edge(2, 3);
  const Plan plan = builder.compile();
  for (NodeIndex i = 0; i < plan.size(); ++i) CHECK(plan.node(i).chained == 0);
  CHECK(plan.has_launches());
}

TEST(the_successor_with_the_longest_way_to_an_end_comes_first) {
  PlanBuilder builder;
  for (int i = 0; i < 6; ++i) builder.add(&done, nullptr);
  for (const auto& [before, after] : {std::pair{0, 1}, {0, 2}, {0, 3}, {2, 4}, {4, 5}}) {
    builder.edge(static_cast<NodeIndex>(before), static_cast<NodeIndex>(after));
  }
  const Plan by_count = builder.compile();
  CHECK_EQ(by_count.successors(by_count.node(by_count.place_of(0)))[0], by_count.place_of(2));
  CHECK(!by_count.is_weighted());
  builder.weigh(3, 100);
  const Plan by_weight = builder.compile();
  CHECK_EQ(by_weight.successors(by_weight.node(by_weight.place_of(0)))[0], by_weight.place_of(3));
  CHECK_EQ(by_weight.rank(by_weight.place_of(0)), 0u);
  CHECK_EQ(by_weight.at_rank(1), by_weight.place_of(3));
  CHECK_EQ(by_weight.weight_ns(by_weight.place_of(3)), 100);
}

TEST(a_plan_over_its_limits_is_refused_with_the_limit_and_a_way_out) {
  PlanBuilder nodes{{.nodes = 2}};
  nodes.add(&done, nullptr);
  nodes.add(&done, nullptr);
  std::string text = refusal<std::length_error>([&] { nodes.add(&done, nullptr); });
  CHECK(says(text, "at most 2 nodes") && says(text, "split"));
  PlanBuilder edges{{.edges = 1}};
  for (int i = 0; i < 3; ++i) edges.add(&done, nullptr);
  edges.edge(0, 1);
  CHECK(says(refusal<std::length_error>([&] { edges.edge(1, 2); }), "at most 1 edges"));
  PlanBuilder deep{{.depth = 2}};
  for (NodeIndex i = 0; i < 3; ++i) deep.add(&done, nullptr);
  deep.edge(0, 1);
  deep.compile();
  deep.edge(1, 2);
  CHECK(says(refusal<std::length_error>([&] { deep.compile(); }), "at most 2 nodes on its longest path"));
}

TEST(limits_that_are_none_and_weights_below_zero_are_refused) {
  CHECK(says(refusal<std::invalid_argument>([] { PlanBuilder{{.nodes = 0}}; }), "PlanLimits::nodes must be 1 to"));
  CHECK(says(refusal<std::invalid_argument>([] { PlanBuilder{{.depth = UINT32_MAX}}; }), "got 4294967295"));
  PlanBuilder builder;
  builder.add(&done, nullptr);
  CHECK(says(refusal<std::invalid_argument>([&] { builder.weigh(0, -1); }), "must be 0 or more, got -1"));
  CHECK(says(refusal<std::out_of_range>([&] { builder.weigh(1, 1); }), "names node 1, but the plan has 1"));
}

}  // namespace
