// test_wall_clock.cpp -- an hour's jump of the wall clock, either way, changes nothing.
//
// This program's own clock_gettime stands before the C library's, for everything that is linked to it, libstdc++ too.
// A wait by the wall clock would so get a moment an hour away, and end at once or not in this test's time.
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <ctime>
#include <latch>

#include "../harness.hpp"
#include "tailrace/sched/scheduler.hpp"

namespace {
std::atomic<std::int64_t> wall_jump_s{0};
}

// Stands in for the C library's, which is looked up after the program's own.
extern "C" int clock_gettime(clockid_t clock, timespec* now) noexcept {
  const auto result = static_cast<int>(syscall(SYS_clock_gettime, clock, now));
  if (clock == CLOCK_REALTIME) now->tv_sec += wall_jump_s.load();
  return result;
}

namespace {

using namespace tailrace;

struct Alarm final : sched::Timer {
  void fire() override {
    fired_ns = base::monotonic_ns();
    done.count_down();
  }
  std::int64_t fired_ns = 0;
  std::latch done{1};
};

struct Nothing final : sched::Item {
  void run(sched::Worker*) override {}
  void complete(base::Outcome) override {}
  void drop() override {}
};

TEST(the_wall_clock_of_this_program_jumps_and_the_steady_one_does_not) {
  const auto wall = std::chrono::system_clock::now();
  const auto steady = std::chrono::steady_clock::now();
  wall_jump_s = -3'600;
  CHECK(std::chrono::system_clock::now() < wall - std::chrono::minutes{59});
  CHECK(std::chrono::steady_clock::now() >= steady);
  wall_jump_s = 0;
}

TEST(a_timer_fires_on_time_though_the_wall_clock_jumps_an_hour_either_way) {
  for (const std::int64_t hour : {3'600, -3'600}) {
    sched::Scheduler scheduler{{.workers = 1}};
    Alarm before, after;
    scheduler.arm(before, base::monotonic_ns() + 2'000'000);
    wall_jump_s = hour;  // while the watch sleeps
    scheduler.arm(after, base::monotonic_ns() + 4'000'000);
    before.done.wait();
    after.done.wait();
    CHECK(before.fired_ns >= before.deadline_ns);
    CHECK(after.fired_ns >= after.deadline_ns);
    wall_jump_s = 0;
  }
}

TEST(waits_end_on_time_though_the_wall_clock_jumps_an_hour_either_way) {
  for (const std::int64_t hour : {3'600, -3'600}) {
    wall_jump_s = hour;
    sched::BlockingLane lane{"b", 1, {}, 1'000'000};
    Nothing item;
    CHECK(lane.submit(&item));
    while (lane.statistics().threads != 0) base::pause();  // leaves after a quiet millisecond

    sched::Scheduler scheduler{{.workers = 1}};
    std::latch here{1}, go{1};
    scheduler.submit([&](sched::Worker*) {
      here.count_down();
      go.wait();
    });
    here.wait();
    scheduler.stop_begin();
    const std::int64_t until = base::monotonic_ns() + 2'000'000;
    CHECK(!scheduler.stop_wait(until));
    CHECK(base::monotonic_ns() >= until);
    go.count_down();
    CHECK(scheduler.stop_wait(base::kNever));
    wall_jump_s = 0;
  }
}

}  // namespace
