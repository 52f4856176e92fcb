// test_timer_wheel.cpp -- the wheel gives what a sorted map gives, whatever is armed, cancelled and however time jumps.
#include <map>
#include <memory>
#include <utility>
#include <vector>

#include "../harness.hpp"
#include "tailrace/base/random.hpp"
#include "tailrace/queue/timer_wheel.hpp"

namespace {

using tailrace::base::kNever;
using tailrace::queue::TimerNode;
using tailrace::queue::TimerWheel;

std::int64_t next_ns(TimerWheel& wheel) {
  const TimerNode* first = wheel.earliest();
  return first == nullptr ? kNever : first->due_ns;
}

TEST(a_timer_comes_out_at_its_nanosecond_and_not_before) {
  for (const std::int64_t due : {std::int64_t{1}, std::int64_t{63}, std::int64_t{64}, std::int64_t{4'096},
                                 std::int64_t{1'000'000'007}, std::int64_t{1} << 60, kNever - 1}) {
    TimerWheel wheel;
    TimerNode node;
    wheel.insert(node, due, 1);
    CHECK_EQ(next_ns(wheel), due);
    CHECK(wheel.pop_due(due - 1) == nullptr);
    CHECK_EQ(next_ns(wheel), due);
    CHECK(wheel.pop_due(due) == &node);
    CHECK(!node.linked());
    CHECK_EQ(next_ns(wheel), kNever);
    CHECK_EQ(wheel.size(), 0u);
  }
}

TEST(equal_deadlines_come_out_in_their_order_though_time_moved_between_and_one_was_put_in_late) {
  TimerWheel wheel;
  TimerNode first, second, third, fourth;
  wheel.insert(first, 1'000'000, 1);
  wheel.insert(third, 1'000'000, 3);
  CHECK(wheel.pop_due(999'990) == nullptr);
  wheel.insert(fourth, 1'000'000, 4);
  wheel.insert(second, 1'000'000, 2);
  for (TimerNode* wanted : {&first, &second, &third, &fourth}) CHECK(wheel.pop_due(1'000'000) == wanted);
}

TEST(a_deadline_that_has_passed_is_due_at_once_and_before_later_ones) {
  TimerWheel wheel;
  TimerNode late, later, now;
  CHECK(wheel.pop_due(5'000) == nullptr);
  wheel.insert(now, 5'000, 1);
  wheel.insert(later, 70, 2);
  wheel.insert(late, -7, 3);
  CHECK_EQ(next_ns(wheel), -7);
  for (TimerNode* wanted : {&late, &later, &now}) CHECK(wheel.pop_due(0) == wanted);
  CHECK(wheel.pop_due(0) == nullptr);
}

TEST(a_removed_timer_never_comes_out_and_leaves_no_slot_behind) {
  TimerWheel wheel;
  TimerNode near, far, never;
  wheel.insert(never, kNever, 1);
  wheel.insert(far, 1'000'000'000'000, 2);
  wheel.insert(near, 3, 3);
  wheel.remove(near);
  CHECK_EQ(next_ns(wheel), 1'000'000'000'000);
  wheel.remove(far);
  CHECK_EQ(next_ns(wheel), kNever);
  CHECK(wheel.pop_due(kNever - 1) == nullptr);
  CHECK(wheel.pop_due(kNever) == &never);
  CHECK(wheel.earliest() == nullptr);
}

// A wheel and a sorted map side by side, over one random history.
struct Twins {
  using Key = std::pair<std::int64_t, std::uint64_t>;
  explicit Twins(std::uint64_t seed) : random{seed}, nodes(64) {}

  std::int64_t some_span() {
    const auto bits = static_cast<int>(random.below(63));
    return static_cast<std::int64_t>(random.next() >> (63 - bits)) + (bits == 0 ? 0 : 1);
  }
  std::int64_t later(std::int64_t span) const { return span < kNever - now ? now + span : kNever; }

  void arm(TimerNode& node) {
    std::int64_t due = later(some_span());
    if (random.below(8) == 0 && !model.empty()) due = model.begin()->first.first;  // an equal one
    if (random.below(16) == 0) due = now - random.below(1'000);
    wheel.insert(node, due, ++order);
    model.emplace(Key{due, order}, &node);
  }
  void cancel(TimerNode& node) {
    model.erase(Key{node.due_ns, node.order});
    wheel.remove(node);
  }
  void act() {
    TimerNode& node = nodes[random.below(static_cast<std::uint32_t>(nodes.size()))];
    if (!node.linked()) return arm(node);
    cancel(node);
    if (random.below(2) == 0) arm(node);
  }
  void move() {
    // To the next deadline, just before it, or anywhere.
    std::int64_t to = later(random.below(4) == 0 ? some_span() : random.below(2'000));
    if (!model.empty() && random.below(2) == 0) to = model.begin()->first.first - random.below(2);
    if (to > now) now = to;
    while (TimerNode* node = wheel.pop_due(now)) {
      ++fired;
      CHECK(!model.empty() && model.begin()->second == node);
      CHECK(node->due_ns <= now);
      if (model.empty()) return;
      model.erase(model.begin());
      for (std::uint32_t n = random.below(3); n > 0; --n) act();  // while it fires
    }
    CHECK(model.empty() || model.begin()->first.first > now);
  }
  void look() {
    CHECK_EQ(wheel.size(), model.size());
    CHECK_EQ(next_ns(wheel), model.empty() ? kNever : model.begin()->first.first);
  }

  tailrace::base::Random random;
  std::vector<TimerNode> nodes;
  TimerWheel wheel;
  std::map<Key, TimerNode*> model;
  std::int64_t now = 0;
  std::uint64_t order = 0, fired = 0;
};

TEST(the_wheel_gives_what_a_sorted_map_gives_over_many_seeds) {
  std::uint64_t fired = 0;
  for (std::uint64_t round = 0; round < 2'000; ++round) {
    Twins twins{tailrace::test::seed() + round};
    for (int i = 0; i < 120 && tailrace::test::failures() == 0; ++i) {
      for (std::uint32_t n = twins.random.below(4); n > 0; --n) twins.act();
      if (twins.random.below(2) == 0) twins.look();
      if (twins.random.below(2) == 0) twins.move();
    }
    twins.look();
    fired += twins.fired;
  }
  CHECK(fired > 50'000);  // or the histories are not worth much
}

TEST(a_walk_over_all_timers_meets_each_once_and_may_remove_it) {
  tailrace::base::Random random{tailrace::test::seed()};
  TimerWheel wheel;
  std::vector<TimerNode> nodes(500);
  for (std::size_t i = 0; i < nodes.size(); ++i)
    wheel.insert(nodes[i], static_cast<std::int64_t>(random.next() >> (1 + random.below(60))), i);
  std::size_t met = 0;
  wheel.for_each([&](TimerNode& node) {
    ++met;
    if (node.order % 2 == 0) wheel.remove(node);
  });
  CHECK_EQ(met, nodes.size());
  CHECK_EQ(wheel.size(), nodes.size() / 2);
  std::int64_t last = 0;
  while (TimerNode* node = wheel.pop_due(kNever)) {
    CHECK(node->order % 2 == 1 && node->due_ns >= last);
    last = node->due_ns;
  }
}

}  // namespace
