// test_timers.cpp -- timers fire in order, once, and not when cancelled.
#include <algorithm>
#include <functional>
#include <map>
#include <memory>
#include <utility>
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
  timers.arm(late, 200);
  timers.arm(first, 100);
  timers.arm(second, 100);
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

TEST(who_arms_is_told_to_wake_the_owner_only_when_it_sleeps_too_long_and_only_one_is_told) {
  std::vector<int> log;
  Recorder a{log, 1}, b{log, 2}, c{log, 3}, d{log, 4};
  Timers timers;
  CHECK(timers.arm(a, 500));  // nobody has looked yet
  CHECK(!timers.arm(b, 400));  // who was told to wake has not done it yet, but will
  CHECK_EQ(timers.sleep_until_ns(), 400);
  CHECK(!timers.arm(c, 400));
  CHECK(timers.arm(d, 399));
  timers.nobody_sleeps();
  CHECK(timers.cancel(d));
  CHECK(!timers.arm(d, 800));  // where it lies it is met in time
  CHECK_EQ(timers.sleep_until_ns(), 399);  // and somebody comes by
  CHECK_EQ(timers.fire_due(399), 0);
  CHECK_EQ(timers.sleep_until_ns(), 400);
  CHECK_EQ(timers.fire_due(800), 4);
  CHECK(log == (std::vector<int>{2, 3, 1, 4}));
}

TEST(a_timer_that_was_cancelled_may_be_armed_for_earlier_or_later_and_fires_when_told_last) {
  std::vector<int> log;
  Recorder timer{log, 1};
  Timers timers;
  for (const std::int64_t last : {50, 100, 150}) {
    timers.arm(timer, 100);
    if (last > 100) CHECK_EQ(timers.fire_due(0), 0);  // it lies in the wheel
    CHECK(timers.cancel(timer));
    timers.arm(timer, last);
    CHECK_EQ(timers.next_deadline_ns(), last);
    CHECK(timers.cancel(timer));
  }
}

TEST(the_next_deadline_is_that_of_an_armed_timer_not_of_one_that_was_cancelled) {
  std::vector<int> log;
  Recorder a{log, 1}, b{log, 2};
  Timers timers;
  timers.arm(a, 10);
  timers.arm(b, 20);
  CHECK_EQ(timers.next_deadline_ns(), 10);
  CHECK(timers.cancel(a));
  CHECK_EQ(timers.next_deadline_ns(), 20);
  CHECK(timers.cancel(b));
  CHECK_EQ(timers.next_deadline_ns(), tailrace::base::kNever);
}

TEST(a_timer_may_die_once_it_was_cancelled_and_what_it_leaves_behind_does_not_pile_up) {
  std::vector<int> log;
  Timers timers;
  std::vector<std::unique_ptr<Recorder>> standing;
  for (int i = 0; i < 100; ++i) timers.arm(*standing.emplace_back(std::make_unique<Recorder>(log, i)), 1'000'000 + i);
  for (int i = 0; i < 10'000; ++i) {
    Recorder brief{log, -1};
    timers.arm(brief, 1'000'000'000 + i);
    CHECK(timers.cancel(brief));
    if (i % 7 == 0) timers.sleep_until_ns();
  }
  timers.sleep_until_ns();
  CHECK_EQ(timers.size(), 100u);
  CHECK(timers.entries() <= 400);
  CHECK_EQ(timers.fire_due(2'000'000'000), 100);
  CHECK_EQ(log.back(), 99);
}

TEST(a_timer_outlives_the_timers_it_was_armed_with_and_may_go_to_others) {
  std::vector<int> log;
  Recorder timer{log, 1};
  {
    Timers gone;
    gone.arm(timer, 10);
    gone.fire_due(0);
  }
  CHECK(log.empty());
  Timers first, second;
  first.arm(timer, 100);
  CHECK(first.cancel(timer));
  second.arm(timer, 200);
  CHECK_EQ(first.fire_due(1'000), 0);
  CHECK_EQ(second.fire_due(199), 0);
  CHECK_EQ(second.fire_due(200), 1);
}

TEST(timers_give_what_a_sorted_map_gives_whatever_is_cancelled_and_armed_again) {
  using Key = std::pair<std::int64_t, std::uint64_t>;
  struct Twin final : Timer {
    void fire() override {
      ++*fired;
      CHECK(!model->empty() && model->begin()->second == this);
      CHECK_EQ(model->begin()->first.first, deadline_ns);
      model->erase(model->begin());
      is_armed = false;
      if (again) again();
    }
    std::map<Key, Twin*>* model = nullptr;
    int* fired = nullptr;
    std::uint64_t order = 0;
    bool is_armed = false;
    std::function<void()> again;
  };
  int fired = 0;
  for (std::uint64_t round = 0; round < 500; ++round) {
    tailrace::base::Random random{tailrace::test::seed() + round};
    std::map<Key, Twin*> model;
    Timers timers;
    std::vector<Twin> all(24);
    std::uint64_t order = 0;
    std::int64_t now = 0;
    const std::function<void()> act = [&] {
      Twin& one = all[random.below(static_cast<std::uint32_t>(all.size()))];
      if (one.is_armed) {
        CHECK(timers.cancel(one));
        model.erase(Key{one.deadline_ns, one.order});
        one.is_armed = false;
        if (random.below(3) == 0) return;
      }
      one.order = ++order;
      one.is_armed = true;
      timers.arm(one, now + random.below(1u << random.below(20)) - random.below(3));
      model.emplace(Key{one.deadline_ns, one.order}, &one);
    };
    for (Twin& one : all) {
      one.model = &model;
      one.fired = &fired;
      one.again = [&] {
        if (random.below(3) == 0) act();
      };
    }
    for (int i = 0; i < 200; ++i) {
      for (std::uint32_t n = random.below(6); n > 0; --n) act();
      if (random.below(3) == 0)
        CHECK_EQ(timers.next_deadline_ns(), model.empty() ? INT64_MAX : model.begin()->first.first);
      if (random.below(3) == 0) CHECK(model.empty() || timers.sleep_until_ns() <= model.begin()->first.first);
      now += random.below(1u << random.below(18));
      timers.fire_due(now);
      CHECK(model.empty() || model.begin()->first.first > now);
    }
    CHECK_EQ(timers.size(), model.size());
  }
  CHECK(fired > 50'000);
}

}  // namespace
