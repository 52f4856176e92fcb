// test_blocking_lane.cpp -- as many threads as there is work, up to a limit; every item ends once.
#include <atomic>
#include <deque>
#include <latch>
#include <set>

#include "../harness.hpp"
#include "tailrace/base/clock.hpp"
#include "tailrace/sched/blocking_lane.hpp"

namespace {

using namespace tailrace;

constexpr std::int64_t kLong = 20'000'000'000;

struct Job final : sched::Item {
  void run(sched::Worker* worker) override {
    CHECK(worker == nullptr);
    if (here != nullptr) here->count_down();
    if (until != nullptr) until->wait();
    ++ran;
    if (after != nullptr) after->count_down();
  }
  void complete(base::Outcome outcome) override {
    CHECK(outcome == base::Outcome::kCancelled);
    ++cancelled;
  }
  void drop() override { CHECK(false); }
  std::latch* here = nullptr;
  std::latch* until = nullptr;
  std::latch* after = nullptr;
  std::atomic<int> ran{0}, cancelled{0};
};

TEST(twenty_blocking_items_block_at_the_same_time) {
  sched::BlockingLane lane{"test", 64, {}};
  std::latch all_here{20}, go{1};
  std::deque<Job> jobs(20);
  for (Job& job : jobs) {
    job.here = &all_here;
    job.until = &go;
    CHECK(lane.submit(&job));
  }
  all_here.wait();  // hangs if one had to wait for another
  CHECK_EQ(lane.statistics().threads, 20);
  go.count_down();
  lane.stop_begin(false);
  CHECK(lane.stop_wait(base::monotonic_ns() + kLong));
  for (Job& job : jobs) CHECK_EQ(job.ran.load(), 1);
  CHECK_EQ(lane.statistics().peak, 20);
}

TEST(the_lane_makes_no_more_threads_than_its_limit_and_still_runs_all) {
  sched::BlockingLane lane{"test", 3, {}};
  std::latch three_here{3}, go{1};
  std::deque<Job> jobs(30);
  for (std::size_t i = 0; i < jobs.size(); ++i) {
    if (i < 3) jobs[i].here = &three_here;
    jobs[i].until = &go;
    CHECK(lane.submit(&jobs[i]));
  }
  three_here.wait();
  CHECK_EQ(lane.statistics().threads, 3);
  CHECK_EQ(lane.statistics().queued, 27);
  go.count_down();
  lane.stop_begin(false);
  CHECK(lane.stop_wait(base::monotonic_ns() + kLong));
  for (Job& job : jobs) CHECK_EQ(job.ran.load(), 1);
}

TEST(a_stop_that_cancels_ends_queued_items_and_refuses_new_ones) {
  sched::BlockingLane lane{"test", 1, {}};
  std::latch here{1}, go{1};
  std::deque<Job> jobs(3);
  jobs[0].here = &here;
  jobs[0].until = &go;
  for (Job& job : jobs) CHECK(lane.submit(&job));
  here.wait();
  lane.stop_begin(true);
  CHECK_EQ(jobs[1].cancelled.load(), 1);
  CHECK_EQ(jobs[2].cancelled.load(), 1);
  Job late;
  CHECK(!lane.submit(&late));
  CHECK(!lane.stop_wait(base::monotonic_ns()));  // the first is still inside
  CHECK(!lane.stop_wait(base::monotonic_ns()));  // and asking again does not make it true
  go.count_down();
  CHECK(lane.stop_wait(base::kNever));
}

TEST(an_idle_thread_serves_the_next_item_instead_of_a_new_one) {
  int started = 0, stopped = 0;
  {
    sched::BlockingLane lane{"test", 8, {.on_start = [&] { ++started; }, .on_stop = [&] { ++stopped; }}};
    for (int i = 0; i < 50; ++i) {
      std::latch done{1};
      Job job;
      job.after = &done;
      CHECK(lane.submit(&job));
      done.wait();
      while (lane.statistics().idle == 0) base::pause();
    }
    lane.stop_begin(false);
    CHECK(lane.stop_wait(base::monotonic_ns() + kLong));
  }
  CHECK_EQ(started, 1);
  CHECK_EQ(stopped, 1);
}

}  // namespace
