// test_spin.cpp -- how long a worker looks before it sleeps, and what a wake is thought to cost.
#include <atomic>
#include <latch>

#include "../harness.hpp"
#include "tailrace/sched/cpus.hpp"
#include "tailrace/sched/scheduler.hpp"

namespace {

using namespace tailrace;
using sched::Profile;
using sched::SpinWindow;

TEST(a_window_closes_after_misses_and_opens_again_after_sleeps_that_were_short) {
  SpinWindow window{15'000, true};
  CHECK_EQ(window.ns(), 15'000);
  for (int i = 0; i < 10; ++i) window.missed();
  CHECK_EQ(window.ns(), 0);
  window.slept(1'000'000);
  CHECK_EQ(window.ns(), 0);
  window.slept(9'000);
  CHECK_EQ(window.ns(), 15'000);
}

TEST(a_window_that_pays_every_third_time_stays_open) {
  SpinWindow window{15'000, true};
  for (int i = 0; i < 100; ++i) {
    window.missed();
    window.missed();
    CHECK_EQ(window.ns(), 15'000);
    window.found();
  }
}

TEST(a_window_that_does_not_adapt_stays_open) {
  SpinWindow window{100'000, false};
  for (int i = 0; i < 100; ++i) window.missed();
  CHECK_EQ(window.ns(), 100'000);
}

TEST(each_profile_has_its_window) {
  CHECK_EQ(sched::spin_window_ns(Profile::kEco), 0);
  CHECK_EQ(sched::spin_window_ns(Profile::kBalanced), 15'000);
  CHECK_EQ(sched::spin_window_ns(Profile::kLatency), 100'000);
  for (const Profile each : {Profile::kEco, Profile::kBalanced, Profile::kLatency}) {
    Profile found{};
    CHECK(sched::from_name(sched::name(each), found) && found == each);
  }
  Profile none{};
  CHECK(!sched::from_name("turbo", none));
}

// Submits, one after the other, and returns how often a worker looked around.
std::uint64_t spins(sched::SchedulerOptions options) {
  sched::Scheduler scheduler{std::move(options)};
  for (int i = 0; i < 20; ++i) {
    std::latch done{1};
    scheduler.submit([&done](sched::Worker*) { done.count_down(); });
    done.wait();
  }
  scheduler.stop_begin();
  scheduler.stop_wait(base::kNever);
  std::uint64_t all = 0;
  for (int i = 0; i < scheduler.worker_count(); ++i) all += scheduler.worker(i).counters().spins.read();
  return all;
}

TEST(the_eco_profile_and_more_workers_than_processors_never_spin) {
  CHECK_EQ(spins({.workers = 1, .profile = Profile::kEco}), 0u);
  CHECK_EQ(spins({.workers = sched::available_cpus() + 1, .profile = Profile::kLatency}), 0u);
  CHECK(spins({.workers = 1, .profile = Profile::kLatency}) > 0u);
}

TEST(the_cost_of_a_wake_is_learnt_from_each) {
  sched::WakeCost cost;
  const std::int64_t before = cost.start_ns();
  for (int i = 0; i < 100; ++i) cost.add_start(2'000);
  CHECK(cost.start_ns() < before);
  CHECK(cost.start_ns() <= 2'010);
  for (int i = 0; i < 100; ++i) cost.add_start(60'000'000'000);  // kept off its core: counts for no more than 100 us
  CHECK(cost.start_ns() <= 100'000);
}

TEST(short_work_of_one_thread_is_run_by_one_worker_and_all_of_it) {
  sched::Scheduler scheduler{{.workers = 2}};
  std::atomic<int> ran{0};
  for (int i = 0; i < 20'000; ++i) scheduler.submit([&ran](sched::Worker*) { ++ran; }, 50);
  scheduler.drain();
  CHECK_EQ(ran.load(), 20'000);
}

// Two closures of unknown cost behind a short one: each waits for the other, so that both need a worker.
TEST(long_work_beside_short_work_finds_a_worker_of_its_own) {
  sched::Scheduler scheduler{{.workers = 2, .profile = Profile::kEco}};
  for (int round = 0; round < 500; ++round) {
    std::latch both{2}, left{3};
    scheduler.submit([&left](sched::Worker*) { left.count_down(); }, 50);
    for (int i = 0; i < 2; ++i) {
      scheduler.submit([&both, &left](sched::Worker* worker) {
        if (worker != nullptr) both.arrive_and_wait();
        left.count_down();
      });
    }
    left.wait();
  }
}

}  // namespace
