// test_gated_lane.cpp -- the order of the gated lane: priority, deadline, service; and that nothing starves in it.
#include <deque>
#include <vector>

#include "../harness.hpp"
#include "tailrace/base/random.hpp"
#include "tailrace/sched/lanes.hpp"

namespace {

using namespace tailrace;
using sched::Priority;

struct Piece final : sched::Item {
  Piece(int n, Priority p, std::uint8_t l = sched::kNewLevel, std::int64_t deadline = base::kNever) : number{n} {
    priority = p;
    level = l;
    deadline_ns = deadline;
  }
  void run(sched::Worker*) override {}
  void complete(base::Outcome) override {}
  void drop() override {}
  int number;
};

std::vector<int> drained(sched::GatedLane& lane) {
  std::vector<int> order;
  while (sched::Item* item = lane.pop()) order.push_back(static_cast<Piece*>(item)->number);
  return order;
}

TEST(the_gated_lane_goes_by_priority_then_deadline_then_service) {
  sched::GatedLane lane;
  std::deque<Piece> pieces;
  const auto push = [&](auto... arguments) {
    lane.push(&pieces.emplace_back(static_cast<int>(pieces.size()), arguments...));
  };
  push(Priority::kNormal, std::uint8_t{4});                          // 0: has had much
  push(Priority::kLow, std::uint8_t{0});                             // 1
  push(Priority::kNormal);                                           // 2: new
  push(Priority::kNormal, std::uint8_t{0});                          // 3: has begun
  push(Priority::kHigh, std::uint8_t{4});                            // 4
  push(Priority::kNormal, sched::kNewLevel, std::int64_t{2'000});    // 5
  push(Priority::kNormal, std::uint8_t{4}, std::int64_t{1'000});     // 6
  push(Priority::kNormal);                                           // 7
  CHECK_EQ(lane.depth(), 8);
  CHECK((drained(lane) == std::vector<int>{4, 6, 5, 3, 2, 7, 0, 1}));
  CHECK_EQ(lane.depth(), 0);
}

TEST(a_piece_that_arrives_later_goes_before_what_was_filed_in_a_lower_class) {
  sched::GatedLane lane;
  Piece a{0, Priority::kNormal}, b{1, Priority::kNormal}, c{2, Priority::kHigh};
  lane.push(&a);
  lane.push(&b);
  CHECK(lane.pop() == &a);
  lane.note_leftover();
  CHECK(lane.has_items());
  lane.push(&c);
  CHECK((drained(lane) == std::vector<int>{2, 1}));
  lane.note_leftover();
  CHECK(!lane.has_items());
}

// Every class always full but for one that has one piece: how long does that piece wait?
TEST(no_class_of_the_gated_lane_starves_whatever_the_others_do) {
  for (int starved = 0; starved < sched::GatedLane::kClasses; ++starved) {
    sched::GatedLane lane;
    std::deque<Piece> pieces;
    for (int p = 0; p < sched::kPriorities; ++p) {
      for (int l = -1; l < sched::kLevels; ++l) {
        Piece& piece = pieces.emplace_back(0, static_cast<Priority>(p), static_cast<std::uint8_t>(l < 0 ? 0 : l),
                                           l < 0 ? 1'000 : base::kNever);
        piece.number = sched::GatedLane::class_of(&piece);
        lane.push(&piece);
      }
    }
    int waited = 0;
    while (true) {
      sched::Item* item = lane.pop();
      if (static_cast<Piece*>(item)->number == starved) break;
      lane.push(item);
      ++waited;
      CHECK(waited <= 16 * sched::GatedLane::kClasses);
    }
  }
}

TEST(pieces_without_order_among_them_keep_their_order_of_arrival) {
  base::Random random{test::seed()};
  sched::GatedLane lane;
  std::deque<Piece> pieces;
  int next = 0;
  for (int i = 0; i < 1'000; ++i) {
    lane.push(&pieces.emplace_back(i, Priority::kLow));
    if (random.below(3) == 0) CHECK_EQ(static_cast<Piece*>(lane.pop())->number, next++);
  }
  for (const int number : drained(lane)) CHECK_EQ(number, next++);
  CHECK_EQ(next, 1'000);
}

TEST(the_levels_of_service_rise_with_the_service_and_stand_around_new_work) {
  CHECK_EQ(int{sched::service_level(0)}, 0);
  CHECK_EQ(int{sched::service_level(3'999'999)}, 0);
  CHECK(sched::service_level(4'000'000) > sched::kNewLevel);
  for (std::int64_t service = 0; service < 600'000'000; service += 999'983) {
    CHECK(sched::next_level_ns(service) > service);
    CHECK(sched::service_level(service) <= sched::service_level(sched::next_level_ns(service)));
    CHECK_EQ(int{sched::service_level(service)}, int{sched::service_level(sched::next_level_ns(service) - 1)});
  }
}

}  // namespace
