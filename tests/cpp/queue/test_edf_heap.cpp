// test_edf_heap.cpp -- the order of the heap, against a sort.
#include "tailrace/queue/edf_heap.hpp"

#include <algorithm>
#include <vector>

#include "../harness.hpp"
#include "tailrace/base/random.hpp"

namespace {

using namespace tailrace;

struct Node {
  std::int64_t deadline_ns;
  int number;
};

TEST(the_heap_gives_the_earliest_deadline_first_and_equal_ones_in_their_order) {
  base::Random random{test::seed()};
  for (int round = 0; round < 200; ++round) {
    std::vector<Node> nodes;
    for (int i = 0; i < round; ++i) nodes.push_back({static_cast<std::int64_t>(random.below(20)), i});
    queue::EdfHeap<Node> heap;
    for (Node& node : nodes) heap.push(&node, node.deadline_ns);
    CHECK_EQ(heap.size(), nodes.size());
    std::vector<Node> expected = nodes;
    std::stable_sort(expected.begin(), expected.end(),
                     [](const Node& a, const Node& b) { return a.deadline_ns < b.deadline_ns; });
    for (const Node& next : expected) {
      CHECK_EQ(heap.earliest_ns(), next.deadline_ns);
      CHECK_EQ(heap.pop()->number, next.number);
    }
    CHECK(heap.pop() == nullptr);
    CHECK_EQ(heap.earliest_ns(), base::kNever);
  }
}

TEST(the_heap_stays_in_order_while_items_come_and_go) {
  base::Random random{test::seed()};
  std::vector<Node> nodes(2'000);
  std::vector<std::int64_t> waiting;
  queue::EdfHeap<Node> heap;
  for (std::size_t i = 0; i < nodes.size(); ++i) {
    nodes[i] = {static_cast<std::int64_t>(random.below(1'000)), static_cast<int>(i)};
    heap.push(&nodes[i], nodes[i].deadline_ns);
    waiting.push_back(nodes[i].deadline_ns);
    if (random.below(3) == 0) continue;
    const auto least = std::min_element(waiting.begin(), waiting.end());
    CHECK_EQ(heap.pop()->deadline_ns, *least);
    waiting.erase(least);
  }
  CHECK_EQ(heap.size(), waiting.size());
}

}  // namespace
