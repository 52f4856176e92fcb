// test_queues.cpp -- what the queues do on one thread; tests/model and tests/stress have the rest.
#include <array>
#include <memory>

#include "../harness.hpp"
#include "tailrace/queue/inject_lane.hpp"
#include "tailrace/queue/mpsc_queue.hpp"
#include "tailrace/queue/steal_deque.hpp"

namespace {

using namespace tailrace::queue;

TEST(the_owner_takes_the_newest_and_a_thief_the_oldest) {
  StealDeque<int> deque{4};
  for (int i = 1; i <= 3; ++i) deque.push(i);
  int item = 0;
  CHECK(deque.pop(item));
  CHECK_EQ(item, 3);
  CHECK(deque.steal(item) == Steal::kTaken);
  CHECK_EQ(item, 1);
  CHECK(deque.pop(item));
  CHECK_EQ(item, 2);
  CHECK(!deque.pop(item));
  CHECK(deque.steal(item) == Steal::kEmpty);
  CHECK(deque.empty());
}

TEST(the_deque_grows_and_keeps_its_order_also_after_it_has_gone_round) {
  StealDeque<int> deque{2};
  int pushed = 0, stolen = 0, item = 0;
  for (int round = 0; round < 100; ++round) {
    for (int i = 0; i < 5; ++i) deque.push(pushed++);
    for (int i = 0; i < 3; ++i) {
      CHECK(deque.steal(item) == Steal::kTaken);
      CHECK_EQ(item, stolen++);
    }
  }
  while (deque.pop(item)) CHECK_EQ(item, --pushed);
  CHECK_EQ(pushed, stolen);
}

struct Node {
  Node* next = nullptr;
};

TEST(the_queue_is_first_in_first_out_over_several_turns) {
  MpscQueue<Node> queue;
  std::array<Node, 6> nodes;
  CHECK(queue.pop() == nullptr);
  for (std::size_t i = 0; i < 3; ++i) queue.push(&nodes[i]);
  CHECK(queue.pop() == &nodes[0]);
  for (std::size_t i = 3; i < 6; ++i) queue.push(&nodes[i]);
  CHECK(queue.turned_round());
  CHECK(!queue.empty());
  for (std::size_t i = 1; i < 6; ++i) CHECK(queue.pop() == &nodes[i]);
  CHECK(queue.pop() == nullptr);
  CHECK(!queue.turned_round());
  CHECK(queue.empty());
}

TEST(the_lane_refuses_when_full_and_goes_round) {
  const auto lane = std::make_unique<InjectLane<4>>();
  std::uint64_t pushed = 0, claimed = 0;
  std::array<Cell, 8> out{};
  for (int round = 0; round < 50; ++round) {
    while (lane->try_push(Cell{pushed, 1, 2, 3, 4, 5, 6, pushed})) ++pushed;
    CHECK_EQ(pushed - claimed, 4u);
    const std::size_t n = lane->claim(out.data(), 3);
    CHECK_EQ(n, 3u);
    for (std::size_t i = 0; i < n; ++i, ++claimed) CHECK(out[i][0] == claimed && out[i][7] == claimed);
  }
  CHECK_EQ(lane->claim(out.data(), 8), 1u);
  CHECK_EQ(lane->claim(out.data(), 8), 0u);
  CHECK(lane->empty());
}

}  // namespace
