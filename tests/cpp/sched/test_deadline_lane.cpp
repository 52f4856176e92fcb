// test_deadline_lane.cpp -- the earliest deadline first, late items not run, in virtual time; bad deadlines refused.
#include <algorithm>
#include <cmath>
#include <deque>
#include <string>
#include <vector>

#include "../harness.hpp"
#include "tailrace/base/random.hpp"
#include "tailrace/sched/scheduler.hpp"

namespace {

using namespace tailrace;

// Takes `cost_ns` of virtual time of the worker that runs it.
struct Timed final : sched::Item {
  void run(sched::Worker* worker) override {
    const std::int64_t now = worker->scheduler().clock().now_ns();
    ended_ns = now + cost_ns;
    worker->virtual_busy_until_ns = ended_ns;
    outcome = base::Outcome::kOk;
    ++times;
  }
  void complete(base::Outcome how) override {
    outcome = how;
    ++times;
  }
  void drop() override { CHECK(false); }
  std::int64_t cost_ns = 1'000;
  std::int64_t ended_ns = -1;
  base::Outcome outcome = base::Outcome::kPending;
  int times = 0;
};

void run_until_idle(sched::Scheduler& scheduler) {
  for (;;) {
    while (scheduler.drive_once()) {
    }
    const std::int64_t next = scheduler.next_event_ns();
    if (next == base::kNever) return;
    scheduler.virtual_clock().advance_to(next);
  }
}

TEST(the_earliest_deadline_first_meets_every_deadline_of_a_set_where_first_in_first_out_misses_some) {
  int missed_by_arrival = 0;
  for (std::uint64_t seed = 1; seed <= 200; ++seed) {
    sched::Scheduler scheduler{{.workers = 1, .seed = seed, .is_virtual = true}};
    base::Random random{seed};
    std::deque<Timed> items(30);
    // Feasible by construction: in this order each would end before its deadline.
    std::vector<std::size_t> places(items.size());
    std::int64_t end = 0;
    for (std::size_t i = 0; i < items.size(); ++i) {
      items[i].cost_ns = 100 + random.below(1'000);
      end += items[i].cost_ns;
      items[i].deadline_ns = end + random.below(50);
      places[i] = i;
    }
    for (std::size_t i = places.size() - 1; i > 0; --i)
      std::swap(places[i], places[random.below(static_cast<std::uint32_t>(i + 1))]);
    std::int64_t arrival_end = 0;
    for (const std::size_t i : places) {
      arrival_end += items[i].cost_ns;
      missed_by_arrival += arrival_end > items[i].deadline_ns ? 1 : 0;
      scheduler.push_deadline(&items[i], items[i].deadline_ns);
    }
    CHECK(scheduler.lane_depths().deadline == 30);
    run_until_idle(scheduler);
    for (const Timed& item : items) {
      CHECK(item.outcome == base::Outcome::kOk);
      CHECK_EQ(item.times, 1);
      CHECK(item.ended_ns <= item.deadline_ns);
    }
    CHECK(scheduler.lane_depths().deadline == 0);
  }
  CHECK(missed_by_arrival > 200);
}

TEST(an_item_that_comes_too_late_is_timed_out_and_every_item_is_counted_once) {
  for (std::uint64_t seed = 1; seed <= 100; ++seed) {
    sched::Scheduler scheduler{{.workers = 3, .seed = seed, .is_virtual = true}};
    base::Random random{seed};
    std::deque<Timed> items(100);
    for (Timed& item : items) {
      item.cost_ns = 1'000;
      scheduler.push_deadline(&item, 1 + random.below(40'000));  // some 120 of three workers' 100 slots: overload
    }
    run_until_idle(scheduler);
    int ok = 0, late = 0;
    for (const Timed& item : items) {
      CHECK_EQ(item.times, 1);
      ok += item.outcome == base::Outcome::kOk ? 1 : 0;
      late += item.outcome == base::Outcome::kTimedOut ? 1 : 0;
      if (item.outcome == base::Outcome::kOk) CHECK(item.ended_ns - item.cost_ns < item.deadline_ns);
    }
    CHECK_EQ(ok + late, 100);
    CHECK_EQ(static_cast<int>(scheduler.lane_depths().late), late);
    CHECK(scheduler.lane_depths().deadline == 0);
  }
}

TEST(an_item_with_little_slack_goes_before_high_priority_and_one_with_much_after_it) {
  sched::Scheduler scheduler{{.workers = 1, .is_virtual = true}};
  Timed urgent, patient, high, normal;
  high.priority = sched::Priority::kHigh;
  for (Timed* item : {&urgent, &patient, &high, &normal}) item->cost_ns = 1'000'000;
  scheduler.push(&normal);
  scheduler.push(&high);
  scheduler.push_deadline(&patient, 1'000'000'000);
  scheduler.push_deadline(&urgent, 1'500'000);
  run_until_idle(scheduler);
  CHECK_EQ(urgent.ended_ns, 1'000'000);
  CHECK_EQ(high.ended_ns, 2'000'000);
  CHECK_EQ(patient.ended_ns, 3'000'000);
  CHECK_EQ(normal.ended_ns, 4'000'000);
}

TEST(a_bad_deadline_is_refused_and_the_message_says_what_is_allowed) {
  sched::Scheduler scheduler{{.workers = 1, .is_virtual = true}};
  Timed item;
  const std::int64_t wall_clock = 1'790'000'000'000'000'000;
  for (const std::int64_t bad : {std::int64_t{-1}, base::kNever, wall_clock}) {
    CHECK_THROWS(std::invalid_argument, scheduler.push_deadline(&item, bad));
  }
  for (const double bad : {-0.5, std::nan(""), 1e300, HUGE_VAL}) {
    CHECK_THROWS(std::invalid_argument, scheduler.push_deadline_in(&item, bad));
  }
  try {
    scheduler.push_deadline_in(&item, -0.5);
  } catch (const std::invalid_argument& error) {
    CHECK(std::string{error.what()}.find("got -0.5") != std::string::npos);
  }
  CHECK(scheduler.lane_depths().deadline == 0);
  scheduler.push_deadline_in(&item, 0.25);
  CHECK_EQ(item.deadline_ns, 250'000'000);
  scheduler.stop_begin();
  CHECK(item.outcome == base::Outcome::kCancelled);
  Timed after;
  scheduler.push_deadline_in(&after, 1.0);
  CHECK(after.outcome == base::Outcome::kCancelled);
  CHECK(scheduler.lane_depths().deadline == 0);
}

TEST(items_with_deadlines_starve_neither_others_nor_are_starved) {
  struct Again final : sched::Item {
    explicit Again(sched::Scheduler& s) : scheduler{s} {}
    void run(sched::Worker*) override { scheduler.push_deadline(this, 1'000); }
    void complete(base::Outcome) override {}
    void drop() override {}
    sched::Scheduler& scheduler;
  };
  sched::Scheduler scheduler{{.workers = 1, .is_virtual = true}};
  Again again{scheduler};
  Timed low;
  low.cost_ns = 0;
  low.priority = sched::Priority::kLow;
  scheduler.push_deadline(&again, 1'000);
  scheduler.push(&low);
  int steps = 0;
  while (low.times == 0 && steps < 1'000 && scheduler.drive_once()) ++steps;
  CHECK(steps <= 7 * 16 + 1);
}

}  // namespace
