// test_lanes.cpp -- the open lane with its classes, the affine lane, ageing, stop; most of it in virtual time.
#include <atomic>
#include <deque>
#include <functional>
#include <latch>
#include <memory>
#include <string>
#include <vector>

#include "../harness.hpp"
#include "tailrace/sched/scheduler.hpp"

namespace {

using namespace tailrace;
using sched::Priority;

// Notes who ran it in which order, then does what it was told.
struct Job final : sched::Item {
  Job(int number, Priority wanted, std::vector<int>* to, std::function<void()> does = {})
      : id{number}, log{to}, body{std::move(does)} {
    priority = wanted;
  }
  void run(sched::Worker* worker) override {
    by = worker->id();
    ++ran;
    if (log != nullptr) log->push_back(id);
    if (body) body();
  }
  void complete(base::Outcome outcome) override {
    CHECK(outcome == base::Outcome::kCancelled);
    ++ended;
  }
  void drop() override { CHECK(false); }
  int id;
  std::vector<int>* log;
  std::function<void()> body;
  int by = -1;
  std::atomic<int> ran{0}, ended{0};
};

sched::SchedulerOptions in_virtual_time(int workers, std::uint64_t seed = test::seed()) {
  return {.workers = workers, .seed = seed, .is_virtual = true};
}

std::vector<int> order_of_thirty(std::uint64_t seed) {
  sched::Scheduler scheduler{in_virtual_time(3, seed)};
  std::vector<int> log;
  std::deque<Job> jobs;
  for (int i = 0; i < 30; ++i) {
    scheduler.push(&jobs.emplace_back(i, static_cast<Priority>(i % 3), &log));
  }
  while (scheduler.drive_once()) {
  }
  return log;
}

TEST(open_items_run_in_the_order_of_their_classes_and_the_seed_chooses_among_equals) {
  const std::vector<int> order = order_of_thirty(1);
  CHECK_EQ(order.size(), 30u);
  CHECK(order == order_of_thirty(1));
  CHECK(order != order_of_thirty(2));
  // Ageing takes two of thirty out of turn at most.
  int out_of_turn = 0;
  for (std::size_t i = 0; i < order.size(); ++i) out_of_turn += order[i] % 3 > static_cast<int>(i / 10) ? 1 : 0;
  CHECK(out_of_turn <= 3);
}

// A job that pushes itself again, so that its class never runs dry.
struct Endless final : sched::Item {
  Endless(sched::Scheduler& s, Priority wanted) : scheduler{s} { priority = wanted; }
  void run(sched::Worker*) override { scheduler.push(this); }
  void complete(base::Outcome) override { ++ended; }
  void drop() override { CHECK(false); }
  sched::Scheduler& scheduler;
  int ended = 0;
};

TEST(no_class_starves_behind_one_that_never_runs_dry) {
  for (std::uint64_t seed = 1; seed <= 50; ++seed) {
    sched::Scheduler scheduler{in_virtual_time(2, seed)};
    Endless high{scheduler, Priority::kHigh}, normal{scheduler, Priority::kNormal};
    Job low{1, Priority::kLow, nullptr}, gated{2, Priority::kLow, nullptr};
    scheduler.push(&high);
    scheduler.push(&normal);
    scheduler.push(&low);
    scheduler.push_gated(&gated);
    int steps = 0;
    while (low.ran + gated.ran < 2 && steps < 1'000 && scheduler.drive_once()) ++steps;
    CHECK_EQ(low.ran + gated.ran, 2);
    CHECK(steps <= 2 * 7 * 16 + 2);  // each worker asks each source once in 112 looks
    scheduler.stop_begin();
    CHECK_EQ(high.ended + normal.ended, 2);
  }
}

TEST(the_owner_runs_a_class_first_in_first_out) {
  sched::Scheduler scheduler{{.workers = 1}};
  std::vector<int> log;
  std::deque<Job> jobs;
  std::latch go{1}, done{21};
  scheduler.submit([&go](sched::Worker*) { go.wait(); });
  for (int i = 0; i < 20; ++i) {
    scheduler.push(&jobs.emplace_back(i, i < 10 ? Priority::kLow : Priority::kHigh, &log, [&] { done.count_down(); }));
  }
  go.count_down();
  done.arrive_and_wait();
  for (int i = 0; i < 20; ++i) CHECK_EQ(log[static_cast<std::size_t>(i)], (i + 10) % 20);
  CHECK(scheduler.lane_depths().open[0] == 0);
  CHECK(scheduler.lane_depths().open[2] == 0);
}

TEST(an_affine_item_runs_on_its_worker_and_on_no_other) {
  sched::Scheduler scheduler{{.workers = 3, .spin_ns = 0}};
  std::deque<Job> jobs;
  std::latch done{300};
  for (int i = 0; i < 300; ++i) {
    scheduler.push_to(i % 3, &jobs.emplace_back(i, Priority::kNormal, nullptr, [&] { done.count_down(); }));
  }
  done.wait();
  for (const Job& job : jobs) CHECK_EQ(job.by, job.id % 3);
}

TEST(a_worker_that_does_not_exist_is_refused_by_name) {
  sched::Scheduler scheduler{in_virtual_time(2)};
  Job job{1, Priority::kNormal, nullptr};
  CHECK_THROWS(std::out_of_range, scheduler.push_to(2, &job));
  CHECK_THROWS(std::out_of_range, scheduler.push_to(-1, &job));
  try {
    scheduler.push_to(2, &job);
  } catch (const std::out_of_range& error) {
    CHECK_EQ(std::string{error.what()},
             std::string{
                 "tailrace: push_to needs a worker from 0 to 1, got 2; use push for an item that any worker may run"});
  }
  CHECK(scheduler.lane_depths().affine == 0);
}

TEST(what_waits_is_counted_and_a_stop_ends_it_once) {
  sched::Scheduler scheduler{in_virtual_time(2)};
  std::deque<Job> jobs;
  for (int i = 0; i < 12; ++i) {
    Job& job = jobs.emplace_back(i, static_cast<Priority>(i % 3), nullptr);
    i < 9 ? scheduler.push(&job) : scheduler.push_to(i % 2, &job);
  }
  CHECK(scheduler.lane_depths().open[0] == 3);
  CHECK(scheduler.lane_depths().affine == 3);
  CHECK(scheduler.drive_once());
  scheduler.stop_begin();
  scheduler.push(&jobs.emplace_back(12, Priority::kHigh, nullptr));
  scheduler.push_to(0, &jobs.emplace_back(13, Priority::kHigh, nullptr));
  int ran = 0, ended = 0;
  for (const Job& job : jobs) ran += job.ran, ended += job.ended;
  CHECK_EQ(ran, 1);
  CHECK_EQ(ended, 13);
  CHECK(scheduler.lane_depths().open[0] == 0);
  CHECK(scheduler.lane_depths().affine == 0);
}

TEST(a_high_item_does_not_wait_for_the_end_of_a_slice_behind_the_gate) {
  sched::Scheduler scheduler{{.workers = 1, .slice_ns = 1'000'000'000'000}};
  std::vector<int> log;
  Job high{99, Priority::kHigh, &log};
  std::deque<Job> jobs;
  std::latch go{1}, done{10};
  scheduler.submit([&go](sched::Worker*) { go.wait(); });
  for (int i = 0; i < 10; ++i) {
    scheduler.push_gated(&jobs.emplace_back(i, Priority::kNormal, &log, [&, i] {
      if (i == 2) scheduler.push(&high);
      done.count_down();
    }));
  }
  go.count_down();
  done.wait();
  CHECK_EQ(log[3], 99);
}

}  // namespace
