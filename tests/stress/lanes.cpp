// lanes.cpp -- the lanes of the scheduler under real threads: every item ends once, and none waits while a worker sleeps.
#include <atomic>
#include <deque>
#include <latch>
#include <thread>
#include <vector>

#include "../cpp/harness.hpp"
#include "tailrace/base/random.hpp"
#include "tailrace/sched/raisable.hpp"
#include "tailrace/sched/scheduler.hpp"

namespace {

using namespace tailrace;

int amount(int base) { return base * static_cast<int>(test::stress_factor()); }

struct Open final : sched::Item {
  void run(sched::Worker* worker) override {
    if (only >= 0 && worker->id() != only) CHECK(false);
    for (int i = 0; i < pauses; ++i) base::pause();
    finish();
  }
  void complete(base::Outcome) override { finish(); }
  void drop() override { CHECK(false); }
  void finish() {
    if (times.fetch_add(1) != 0) CHECK(false);
    left->fetch_sub(1);
  }
  std::atomic<int> times{0};
  std::atomic<int>* left = nullptr;
  int pauses = 0;
  int only = -1;
};

void push_some(sched::Scheduler& scheduler, Open& item, base::Random& random) {
  item.pauses = random.below(50) == 0 ? 500 : 1;
  item.priority = static_cast<sched::Priority>(random.below(3));
  if (random.below(4) == 0) {
    item.only = static_cast<int>(random.below(3));
    scheduler.push_to(item.only, &item);
  } else {
    scheduler.push(&item);
  }
}

TEST(open_and_affine_items_of_every_class_from_three_threads_run_once) {
  const int each = amount(60'000);
  std::deque<Open> items(static_cast<std::size_t>(3 * each));
  std::atomic<int> left{3 * each};
  {
    sched::Scheduler scheduler{{.workers = 3, .spin_ns = 2'000}};
    std::vector<std::thread> producers;
    for (int p = 0; p < 3; ++p) {
      producers.emplace_back([&, p] {
        base::Random random{test::seed() + static_cast<std::uint64_t>(p)};
        for (int i = 0; i < each; ++i) {
          Open& item = items[static_cast<std::size_t>(p * each + i)];
          item.left = &left;
          push_some(scheduler, item, random);
          if (random.below(100) == 0) std::this_thread::yield();
        }
      });
    }
    for (auto& producer : producers) producer.join();
    while (left.load() != 0) std::this_thread::yield();
    const sched::LaneDepths depths = scheduler.lane_depths();
    CHECK(depths.affine == 0 && depths.open[0] + depths.open[1] + depths.open[2] == 0);
  }
  for (Open& item : items) CHECK_EQ(item.times.load(), 1);
}

TEST(a_stop_in_the_middle_ends_every_open_and_affine_item_once) {
  for (int round = 0; round < amount(400); ++round) {
    std::deque<Open> items(600);
    std::atomic<int> left{600};
    {
      sched::Scheduler scheduler{{.workers = 3, .spin_ns = 1'000}};
      std::vector<std::thread> producers;
      for (std::size_t p = 0; p < 2; ++p) {
        producers.emplace_back([&, p] {
          base::Random random{test::seed() + p + static_cast<std::uint64_t>(2 * round)};
          for (std::size_t i = 0; i < 300; ++i) {
            items[p * 300 + i].left = &left;
            push_some(scheduler, items[p * 300 + i], random);
          }
        });
      }
      if (round % 2 == 0) std::this_thread::yield();
      scheduler.stop_begin();
      for (auto& producer : producers) producer.join();
      CHECK(scheduler.stop_wait(base::kNever));
    }
    CHECK_EQ(left.load(), 0);
  }
}

TEST(items_with_deadlines_from_three_threads_end_once_run_or_timed_out) {
  const int each = amount(30'000);
  std::deque<Open> items(static_cast<std::size_t>(3 * each));
  std::atomic<int> left{3 * each};
  sched::Scheduler scheduler{{.workers = 3, .spin_ns = 2'000}};
  std::vector<std::thread> producers;
  for (int p = 0; p < 3; ++p) {
    producers.emplace_back([&, p] {
      base::Random random{test::seed() + static_cast<std::uint64_t>(p)};
      for (int i = 0; i < each; ++i) {
        Open& item = items[static_cast<std::size_t>(p * each + i)];
        item.left = &left;
        item.pauses = random.below(50) == 0 ? 500 : 1;
        scheduler.push_deadline_in(&item, 1e-6 * random.below(20'000));
      }
    });
  }
  for (auto& producer : producers) producer.join();
  while (left.load() != 0) std::this_thread::yield();
  for (Open& item : items) CHECK_EQ(item.times.load(), 1);
  CHECK(scheduler.lane_depths().deadline == 0);
}

TEST(a_stop_in_the_middle_ends_every_item_of_the_deadline_lane_and_of_the_gates_once) {
  for (int round = 0; round < amount(300); ++round) {
    std::deque<Open> items(600);
    std::atomic<int> left{600};
    {
      sched::Scheduler scheduler{{.workers = 3, .spin_ns = 1'000}};
      sched::PermitLane& gate = scheduler.make_gate({.width = 2, .slice_ns = 5'000});
      std::vector<std::thread> producers;
      for (std::size_t p = 0; p < 2; ++p) {
        producers.emplace_back([&, p] {
          for (std::size_t i = 0; i < 300; ++i) {
            Open& item = items[p * 300 + i];
            item.left = &left;
            if (i % 2 == 0) {
              scheduler.push_deadline_in(&item, 1.0);
            } else if (!gate.push(&item)) {
              CHECK(false);
            }
          }
        });
      }
      if (round % 2 == 0) std::this_thread::yield();
      scheduler.stop_begin();
      for (auto& producer : producers) producer.join();
      CHECK(scheduler.stop_wait(base::kNever));
    }
    CHECK_EQ(left.load(), 0);
  }
}

struct Raised final : sched::RaisableItem {
  void run_once(sched::Worker*) override { once(); }
  void complete_once(base::Outcome) override { once(); }
  void retain() override { references.fetch_add(1); }
  void drop() override { give_back(); }
  void once() {
    times.fetch_add(1);
    give_back();
  }
  void give_back() {
    if (references.fetch_sub(1) == 1) left->fetch_sub(1);
  }
  std::atomic<int> references{3};  // the push, and two that raise
  std::atomic<int> times{0};
  std::atomic<int>* left = nullptr;
};

TEST(items_that_two_threads_raise_run_once_and_every_entry_comes_back) {
  const int count = amount(30'000);
  std::deque<Raised> items(static_cast<std::size_t>(count));
  std::atomic<int> left{count}, pushed{0};
  sched::Scheduler scheduler{{.workers = 3, .spin_ns = 2'000}};
  std::vector<std::thread> raisers;
  for (const sched::Priority to : {sched::Priority::kNormal, sched::Priority::kHigh}) {
    raisers.emplace_back([&, to] {
      for (int i = 0; i < count; ++i) {
        while (pushed.load() <= i) std::this_thread::yield();
        items[static_cast<std::size_t>(i)].raise(scheduler, to);
        items[static_cast<std::size_t>(i)].give_back();
      }
    });
  }
  for (Raised& item : items) {
    item.left = &left;
    item.priority = sched::Priority::kLow;
    scheduler.push(&item);
    pushed.fetch_add(1);
  }
  for (auto& raiser : raisers) raiser.join();
  while (left.load() != 0) std::this_thread::yield();
  for (Raised& item : items) CHECK_EQ(item.times.load(), 1);
}

TEST(open_items_that_wait_for_each_other_find_enough_workers) {
  sched::Scheduler scheduler{{.workers = 3, .spin_ns = 0}};
  struct Meeting final : sched::Item {
    void run(sched::Worker*) override {
      all->arrive_and_wait();
      left->fetch_sub(1);
    }
    void complete(base::Outcome) override { CHECK(false); }
    void drop() override { CHECK(false); }
    std::latch* all = nullptr;
    std::atomic<int>* left = nullptr;
  };
  for (int round = 0; round < amount(5'000); ++round) {
    std::latch all{3};
    std::atomic<int> left{3};
    std::deque<Meeting> meetings(3);
    for (Meeting& meeting : meetings) {
      meeting.all = &all;
      meeting.left = &left;
      scheduler.push(&meeting);
    }
    while (left.load() != 0) std::this_thread::yield();
  }
}

}  // namespace
