// scheduler.cpp -- workers, idle, gate, runs under real threads: nothing is lost and everything ends.
#include <atomic>
#include <deque>
#include <latch>
#include <thread>
#include <vector>

#include "../cpp/harness.hpp"
#include "tailrace/base/random.hpp"
#include "tailrace/flow/runner.hpp"
#include "tailrace/sched/scheduler.hpp"

namespace {

using namespace tailrace;

int amount(int base) { return base * static_cast<int>(test::stress_factor()); }

struct Gated final : sched::Item {
  void run(sched::Worker* worker) override {
    worker->enter_body(open);
    for (int i = 0; i < pauses; ++i) base::pause();
    worker->leave_body();
    finish();
  }
  void complete(base::Outcome) override { finish(); }
  void drop() override {}
  void finish() {
    if (times.fetch_add(1) != 0) CHECK(false);
    left->fetch_sub(1);
  }
  std::atomic<int> times{0};
  std::atomic<int>* left = nullptr;
  bool open = false;
  int pauses = 0;
};

// Stands for the GIL: says when two are inside at once.
struct Inside final : sched::GateKeeper {
  void enter(sched::Worker&) override { ++entered; }
  void leave(sched::Worker&) override { ++left; }
  std::atomic<int> entered{0}, left{0};
};

// With and without membarriers: who pays for the order of a push differs, what is lost must be nothing.
void bursts_after_silences(bool membarrier) {
  // Parks at once: every burst is a wake.
  sched::Scheduler scheduler{{.workers = 3, .spin_ns = 0, .membarrier = membarrier}};
  base::Random random{test::seed()};
  for (int round = 0; round < amount(10'000); ++round) {
    const int n = 1 + static_cast<int>(random.below(4));
    std::latch done{n};
    for (int i = 0; i < n; ++i) scheduler.submit([&done](sched::Worker*) { done.count_down(); });
    // Sometimes just as the workers go back to sleep.
    for (std::uint32_t k = random.below(400); k > 0; --k) base::pause();
    done.wait();  // hangs when a wake is lost
  }
}

TEST(a_burst_after_every_silence_is_run_by_workers_that_had_gone_to_sleep) { bursts_after_silences(true); }
TEST(the_same_where_pushers_pay_for_the_order) { bursts_after_silences(false); }

// Workers fall asleep all the time while two threads push without a pause: each closure runs before the end.
TEST(a_trickle_into_workers_that_fall_asleep_after_each_closure_is_run_whole) {
  for (const bool membarrier : {true, false}) {
    sched::Scheduler scheduler{{.workers = 2, .spin_ns = 0, .membarrier = membarrier}};
    std::vector<std::thread> producers;
    for (int p = 0; p < 2; ++p) {
      producers.emplace_back([&, p] {
        base::Random random{test::seed() + static_cast<std::uint64_t>(p)};
        for (int i = 0; i < amount(4'000); ++i) {
          std::latch done{1};
          scheduler.submit([&done](sched::Worker*) { done.count_down(); });
          done.wait();  // nobody drains: a closure that no worker sees hangs here
          for (std::uint32_t k = random.below(100); k > 0; --k) base::pause();
        }
      });
    }
    for (auto& producer : producers) producer.join();
  }
}

TEST(items_that_wait_for_each_other_find_enough_workers) {
  sched::Scheduler scheduler{{.workers = 3, .spin_ns = 0}};
  for (int round = 0; round < amount(5'000); ++round) {
    std::latch all{3};
    std::atomic<int> left{3};
    std::vector<std::thread> producers;
    // Three bodies that can only end together: none may wait in a queue while a worker sleeps.
    struct Meeting final : sched::Item {
      void run(sched::Worker* worker) override {
        worker->enter_body(true);
        all->arrive_and_wait();
        worker->leave_body();
        left->fetch_sub(1);
      }
      void complete(base::Outcome) override { CHECK(false); }
      void drop() override {}
      std::latch* all = nullptr;
      std::atomic<int>* left = nullptr;
    };
    std::deque<Meeting> meetings(3);
    for (Meeting& meeting : meetings) {
      meeting.all = &all;
      meeting.left = &left;
      scheduler.push_gated(&meeting);
    }
    while (left.load() != 0) std::this_thread::yield();
  }
}

TEST(gated_items_of_every_kind_from_three_threads_run_once) {
  Inside keeper;
  const int each = amount(40'000);
  std::deque<Gated> items(static_cast<std::size_t>(3 * each));
  std::atomic<int> left{3 * each};
  {
    sched::Scheduler scheduler{{.workers = 3, .spin_ns = 2'000, .slice_ns = 20'000, .keeper = &keeper}};
    std::vector<std::thread> producers;
    for (int p = 0; p < 3; ++p) {
      producers.emplace_back([&, p] {
        base::Random random{test::seed() + static_cast<std::uint64_t>(p)};
        for (int i = 0; i < each; ++i) {
          Gated& item = items[static_cast<std::size_t>(p * each + i)];
          item.left = &left;
          item.open = random.below(3) == 0;
          item.pauses = random.below(50) == 0 ? 500 : 1;
          item.priority = static_cast<sched::Priority>(random.below(3));
          scheduler.push_gated(&item);
          if (random.below(100) == 0) std::this_thread::yield();
        }
      });
    }
    for (auto& producer : producers) producer.join();
    while (left.load() != 0) std::this_thread::yield();
  }
  for (Gated& item : items) CHECK_EQ(item.times.load(), 1);
  CHECK_EQ(keeper.entered.load(), keeper.left.load());
}

TEST(a_stop_in_the_middle_ends_every_item_once) {
  for (int round = 0; round < amount(400); ++round) {
    std::deque<Gated> items(600);
    std::atomic<int> left{600};
    {
      sched::Scheduler scheduler{{.workers = 2, .spin_ns = 1'000}};
      std::vector<std::thread> producers;
      for (std::size_t p = 0; p < 2; ++p) {
        producers.emplace_back([&, p] {
          for (std::size_t i = 0; i < 300; ++i) {
            items[p * 300 + i].left = &left;
            items[p * 300 + i].open = i % 3 == 0;
            scheduler.push_gated(&items[p * 300 + i]);
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

TEST(drain_waits_for_what_its_thread_submitted_while_others_go_on_submitting) {
  sched::Scheduler scheduler{{.workers = 2, .spin_ns = 1'000}};
  std::atomic<bool> stop{false};
  std::vector<std::thread> others;
  for (int i = 0; i < 2; ++i) {
    others.emplace_back([&] {
      while (!stop.load(std::memory_order_relaxed)) {
        scheduler.submit([](sched::Worker*) {});
        for (int k = 0; k < 50; ++k) base::pause();
      }
    });
  }
  for (int round = 0; round < amount(3'000); ++round) {
    std::atomic<bool> ran{false};
    scheduler.submit([&ran](sched::Worker*) {
      for (int k = 0; k < 100; ++k) base::pause();
      ran.store(true);
    });
    scheduler.drain();
    CHECK(ran.load());
    while (!ran.load()) std::this_thread::yield();  // it still points into this frame
  }
  stop = true;
  for (auto& other : others) other.join();
}

TEST(runs_of_one_plan_on_several_threads_at_once_do_every_node) {
  std::atomic<std::int64_t> ran{0};
  auto step = [&ran] { ran.fetch_add(1, std::memory_order_relaxed); };
  flow::PlanBuilder builder;
  base::Random random{test::seed()};
  for (flow::NodeIndex i = 0; i < 40; ++i) {
    builder.add(step);
    for (std::uint32_t k = i == 0 ? 0 : random.below(3); k > 0; --k) builder.edge(random.below(i), i);
  }
  const flow::Plan plan = builder.compile();
  const int each = amount(10'000);
  {
    sched::Scheduler scheduler{{.workers = 2, .spin_ns = 2'000}};
    flow::Runner runner{plan, scheduler};
    std::vector<std::thread> callers;
    for (int c = 0; c < 3; ++c) {
      callers.emplace_back([&] {
        for (int i = 0; i < each; ++i) {
          if (runner.run() != base::Outcome::kOk) CHECK(false);
        }
      });
    }
    for (auto& caller : callers) caller.join();
    scheduler.drain();
  }
  CHECK_EQ(ran.load(), std::int64_t{3} * each * 40);
}

}  // namespace
