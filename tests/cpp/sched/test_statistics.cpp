// test_statistics.cpp -- the counts of a scheduler add up when nothing is in flight.
#include "tailrace/sched/statistics.hpp"

#include <atomic>
#include <deque>
#include <latch>
#include <thread>
#include <vector>

#include "../harness.hpp"
#include "tailrace/sched/scheduler.hpp"

namespace {

using namespace tailrace;
using sched::Scheduler;
using sched::Worker;

struct Gated final : sched::Item {
  void run(Worker* worker) override {
    worker->enter_body(false);
    worker->leave_body();
    left->fetch_sub(1);
  }
  void complete(base::Outcome) override { CHECK(false); }
  void drop() override {}
  std::atomic<int>* left = nullptr;
};

TEST(every_item_and_every_closure_is_counted_once_by_the_worker_that_ran_it) {
  constexpr int kClosures = 6'000, kItems = 2'000;
  std::deque<Gated> items(kItems);
  std::atomic<int> left{kItems}, by_caller{0};
  Scheduler scheduler{{.workers = 2, .spin_ns = 1'000}};
  std::vector<std::thread> producers;
  for (int p = 0; p < 2; ++p) {
    producers.emplace_back([&, p] {
      for (int i = 0; i < kClosures / 2; ++i) {
        scheduler.submit([&by_caller](Worker* worker) { by_caller += worker == nullptr; });
        if (i % 3 != 0) continue;
        Gated& item = items[static_cast<std::size_t>(p * kItems / 2 + i / 3)];
        item.left = &left;
        scheduler.push_gated(&item);
      }
    });
  }
  for (auto& producer : producers) producer.join();
  scheduler.drain();
  while (left.load() != 0) std::this_thread::yield();
  CHECK(scheduler.stop(base::kNever));
  const auto now = scheduler.statistics();
  std::uint64_t ran = 0, injected = 0, gate_entries = 0, parks = 0, wakes = 0;
  for (const auto& worker : now.per_worker) {
    ran += worker.items;
    injected += worker.injected;
    gate_entries += worker.gate_entries;
    parks += worker.parks;
    wakes += worker.wakes;
    CHECK(worker.steals <= worker.steal_attempts);
    CHECK(worker.busy_ns > 0);
  }
  CHECK_EQ(now.per_worker.size(), 2u);
  CHECK_EQ(now.per_worker[1].name, "tailrace-w1");
  CHECK_EQ(injected, static_cast<std::uint64_t>(kClosures - by_caller.load()));
  CHECK_EQ(ran, injected + kItems);
  CHECK(gate_entries > 0);
  CHECK_EQ(parks, wakes);
  CHECK_EQ(now.lanes.injection, 0);
  CHECK_EQ(now.lanes.deques, 0);
  CHECK_EQ(now.lanes.gated, 0);
  CHECK_EQ(now.blocking.queued, 0);
  CHECK_EQ(now.sleeping, 0);
  CHECK_EQ(now.threads, 0);
}

TEST(depths_threads_and_timers_are_those_of_the_moment) {
  struct Never final : sched::Timer {
    void fire() override { CHECK(false); }
  };
  std::latch here{1}, go{1};
  Scheduler scheduler{{.workers = 1}};
  CHECK_EQ(scheduler.statistics().threads, 0);
  scheduler.submit([&](Worker*) {
    here.count_down();
    go.wait();
  });
  here.wait();
  for (int i = 0; i < 7; ++i) scheduler.submit([](Worker*) {});
  Never timer;
  scheduler.arm(timer, base::monotonic_ns() + 3'600'000'000'000);
  const auto now = scheduler.statistics();
  CHECK_EQ(now.workers, 1);
  CHECK_EQ(now.threads, 1);
  CHECK_EQ(now.lanes.injection, 7);
  CHECK_EQ(now.timers_armed, 1u);
  CHECK_EQ(now.sleeping, 0);
  CHECK(scheduler.cancel(timer));
  CHECK_EQ(scheduler.statistics().timers_armed, 1u);  // it has been
  go.count_down();
}

TEST(a_worker_is_busy_while_it_is_inside_a_body_and_not_while_it_sleeps) {
  std::latch half{1}, go{1};
  Scheduler scheduler{{.workers = 1, .spin_ns = 0}};
  constexpr std::int64_t kLongNs = 3'000'000;
  scheduler.submit([&](Worker*) {
    const std::int64_t until = base::monotonic_ns() + kLongNs;
    while (base::monotonic_ns() < until) base::pause();
    half.count_down();
    go.wait();
  });
  half.wait();
  CHECK(scheduler.statistics().per_worker[0].busy_ns >= kLongNs);
  go.count_down();
  while (scheduler.statistics().sleeping == 0) std::this_thread::yield();
  const std::int64_t busy = scheduler.statistics().per_worker[0].busy_ns;
  CHECK(busy >= kLongNs);
  CHECK_EQ(scheduler.statistics().per_worker[0].busy_ns, busy);  // asleep, it does not grow
}

}  // namespace
