// test_timers.cpp -- timers fire in order, once, and not when cancelled.
#include <algorithm>
#include <memory>
#include <vector>

#include "../harness.hpp"
#include "tailrace/base/random.hpp"
#include "tailrace/sched/timers.hpp"

namespace {

using namespace tailrace::sched;

struct Recorder final : Timer {
  Recorder(std::vector<int>& log, int id) : log_{log}, id_{id} {}
  void fire() override { log_.push_back(id_); }
  std::vector<int>& log_;
  int id_;
};

TEST(timers_fire_by_deadline_and_equal_ones_in_the_order_they_were_armed) {
  std::vector<int> log;
  Recorder late{log, 3}, first{log, 1}, second{log, 2};
  Timers timers;
  CHECK(timers.arm(late, 200));
  CHECK(timers.arm(first, 100));
  CHECK(!timers.arm(second, 100));
  CHECK_EQ(timers.next_deadline_ns(), 100);
  CHECK_EQ(timers.fire_due(99), 0);
  CHECK_EQ(timers.fire_due(150), 2);
  CHECK_EQ(timers.size(), 1u);
  CHECK_EQ(timers.fire_due(200), 1);
  CHECK(log == (std::vector<int>{1, 2, 3}));
  CHECK_EQ(timers.next_deadline_ns(), tailrace::base::kNever);
}

TEST(a_cancelled_timer_does_not_fire_and_cancelling_it_again_says_no) {
  std::vector<int> log;
  Recorder timer{log, 1};
  Timers timers;
  CHECK(!timers.cancel(timer));
  timers.arm(timer, 10);
  CHECK(timers.cancel(timer));
  CHECK(!timers.cancel(timer));
  CHECK_EQ(timers.fire_due(100), 0);
  timers.arm(timer, 20);
  CHECK_EQ(timers.fire_due(100), 1);
  CHECK(!timers.cancel(timer));
}

TEST(a_timer_may_arm_itself_again_while_it_fires) {
  struct Ticking final : Timer {
    explicit Ticking(Timers& timers) : timers_{timers} {}
    void fire() override {
      if (++ticks < 5) timers_.arm(*this, deadline_ns + 10);
    }
    Timers& timers_;
    int ticks = 0;
  };
  Timers timers;
  Ticking ticking{timers};
  timers.arm(ticking, 10);
  CHECK_EQ(timers.fire_due(30), 3);
  CHECK_EQ(timers.fire_due(100), 2);
}

TEST(thousands_of_timers_fire_in_order_with_cancels_between) {
  tailrace::base::Random random{tailrace::test::seed()};
  std::vector<int> log, expected;
  std::vector<std::unique_ptr<Recorder>> all;
  Timers timers;
  for (int i = 0; i < 3'000; ++i) {
    all.push_back(std::make_unique<Recorder>(log, i));
    timers.arm(*all.back(), random.below(500));
    if (const std::uint32_t other = random.below(static_cast<std::uint32_t>(i + 1)); i % 3 == 0)
      timers.cancel(*all[other]);
  }
  const std::size_t armed = timers.size();
  for (std::int64_t now = 0; now < 500; now += 7) timers.fire_due(now);
  timers.fire_due(500);
  CHECK_EQ(log.size(), armed);
  CHECK(std::is_sorted(log.begin(), log.end(), [&](int a, int b) {
    const auto& x = *all[static_cast<std::size_t>(a)];
    const auto& y = *all[static_cast<std::size_t>(b)];
    return x.deadline_ns != y.deadline_ns ? x.deadline_ns < y.deadline_ns : a < b;
  }));
}

}  // namespace
