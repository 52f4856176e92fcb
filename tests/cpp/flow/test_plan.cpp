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
  builder.edge(0, 0);
  CHECK_THROWS(CycleError, builder.compile());
}

TEST(an_empty_plan_and_an_edge_to_nowhere_are_refused) {
  PlanBuilder builder;
  CHECK_THROWS(std::invalid_argument, builder.compile());
  builder.add(&done, nullptr);
  CHECK_THROWS(std::out_of_range, builder.edge(0, 1));
}

}  // namespace
