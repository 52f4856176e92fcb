// test_stop.cpp -- the end: who is late is named, what came too late is refused, and nothing is lost or done twice.
#include <atomic>
#include <latch>
#include <stdexcept>
#include <thread>
#include <vector>

#include "../harness.hpp"
#include "tailrace/sched/scheduler.hpp"

namespace {

using namespace tailrace;
using sched::Scheduler;
using sched::Submitted;
using sched::Worker;

TEST(a_stop_out_of_time_names_the_worker_that_is_late_and_what_it_is_in) {
  Scheduler scheduler{{.name = "shop", .workers = 2}};
  std::latch here{1}, go{1};
  std::atomic<int> ran{0};
  scheduler.submit([&](Worker*) {
    here.count_down();
    go.wait();
  });
  here.wait();
  const auto result = scheduler.stop(0);
  CHECK(!result.ended());
  CHECK(!result);
  // The other worker may not have ended either within no time at all; the stuck one stays.
  while (scheduler.stop(0).late.size() > 1) std::this_thread::yield();
  const auto again = scheduler.stop(0);
  CHECK_EQ(again.late.size(), 1u);
  CHECK(again.late[0].name == "shop-w0" || again.late[0].name == "shop-w1");
  CHECK_EQ(again.late[0].body, "a closure");
  CHECK(again.late[0].for_ns > 0);
  CHECK_EQ(again.closures_left, 0);
  go.count_down();
  CHECK(scheduler.stop_wait(base::kNever));
}

TEST(closures_behind_a_body_that_a_stop_left_run_when_it_comes_out) {
  Scheduler scheduler{{.workers = 1}};
  std::latch here{1}, go{1};
  std::atomic<int> ran{0};
  scheduler.submit([&](Worker*) {
    here.count_down();
    go.wait();
  });
  here.wait();
  for (int i = 0; i < 5; ++i)
    CHECK(scheduler.submit([&ran](Worker* worker) { ran += worker != nullptr; }) == Submitted::kQueued);
  CHECK_EQ(scheduler.stop(0).closures_left, 5);
  CHECK_EQ(ran.load(), 0);
  go.count_down();
  CHECK(scheduler.stop_wait(base::kNever));
  CHECK_EQ(ran.load(), 5);
}

TEST(a_body_of_the_blocking_lane_that_is_late_is_named) {
  struct Waits final : sched::Item {
    void run(Worker*) override {
      here.count_down();
      go.wait();
    }
    void complete(base::Outcome) override { CHECK(false); }
    void drop() override {}
    std::latch here{1}, go{1};
  };
  Scheduler scheduler{{.name = "shop", .workers = 1}};
  Waits item;
  scheduler.push_blocking(&item);
  item.here.wait();
  const auto result = scheduler.stop(0);
  CHECK_EQ(result.late.size(), 1u);
  CHECK_EQ(result.late[0].name, "shop-b0");
  CHECK_EQ(result.late[0].body, "a blocking body");
  item.go.count_down();
  CHECK(scheduler.stop_wait(base::kNever));
}

TEST(a_closure_after_stop_is_refused_or_runs_on_its_caller) {
  for (const bool started : {false, true}) {
    Scheduler scheduler{{.workers = 1}};
    if (started) scheduler.ensure_started();
    scheduler.stop(base::kNever);
    int ran = 0;
    CHECK(scheduler.try_submit([&ran](Worker*) { ++ran; }) == Submitted::kStopped);
    CHECK_EQ(ran, 0);
    CHECK(scheduler.submit([&ran](Worker* worker) { ran += worker == nullptr ? 1 : 100; }) == Submitted::kStopped);
    CHECK_EQ(ran, 1);
  }
}

TEST(a_stop_may_be_asked_for_twice_by_several_threads_and_before_the_start) {
  Scheduler never_started{{.workers = 2}};
  CHECK(never_started.stop(base::kNever));
  CHECK(never_started.stop(base::kNever));
  Scheduler scheduler{{.workers = 2}};
  std::latch done{1};
  scheduler.submit([&done](Worker*) { done.count_down(); });
  std::vector<std::thread> stoppers;
  for (int i = 0; i < 3; ++i) stoppers.emplace_back([&] { CHECK(scheduler.stop(base::kNever)); });
  for (auto& stopper : stoppers) stopper.join();
  done.wait();
}

TEST(a_body_may_stop_its_scheduler_and_is_told_that_it_is_late_itself) {
  Scheduler scheduler{{.name = "shop", .workers = 1}};
  std::latch done{1};
  CHECK(scheduler.try_submit([&](Worker* worker) {
    const auto result = worker->scheduler().stop(base::kNever);
    CHECK_EQ(result.late.size(), 1u);
    CHECK_EQ(result.late[0].name, "shop-w0");
    done.count_down();
  }) == Submitted::kQueued);
  done.wait();
  CHECK(scheduler.stop_wait(base::kNever));
}

TEST(a_body_that_drains_its_scheduler_is_refused) {
  Scheduler scheduler{{.workers = 1}};
  std::latch done{1};
  CHECK(scheduler.try_submit([&done](Worker* worker) {
    CHECK(Scheduler::of_this_thread() == &worker->scheduler());
    CHECK_THROWS(std::logic_error, worker->scheduler().drain());
    done.count_down();
  }) == Submitted::kQueued);
  done.wait();
  CHECK(Scheduler::of_this_thread() == nullptr);
}

TEST(a_virtual_scheduler_runs_the_closures_that_it_took_before_the_stop) {
  int ran = 0;
  {
    Scheduler scheduler{{.workers = 2, .is_virtual = true}};
    for (int i = 0; i < 3; ++i) scheduler.submit([&ran](Worker*) { ++ran; });
    CHECK(scheduler.stop(base::kNever));
    CHECK_EQ(ran, 3);
  }
  CHECK_EQ(ran, 3);
}

}  // namespace
