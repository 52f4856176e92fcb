// test_fork_join.cpp -- fork2 and the way in: both run once, results and exceptions come back, nesting.
#include "tailrace/sched/fork_join.hpp"

#include <atomic>
#include <latch>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "../harness.hpp"

namespace {

using namespace tailrace;
using sched::fork2;
using sched::Place;

std::int64_t fib(Place& place, int n) {
  if (n < 2) return n;
  std::int64_t a = 0, b = 0;
  fork2(place, [&](Place& here) { a = fib(here, n - 1); }, [&](Place& here) { b = fib(here, n - 2); });
  return a + b;
}

TEST(a_recursion_forked_at_every_step_gives_the_serial_answer_with_and_without_workers) {
  for (const int workers : {1, 3}) {
    sched::Scheduler scheduler{{.workers = workers}};
    CHECK_EQ(sched::fork_join(scheduler, [](Place& place) { return fib(place, 20); }), 6'765);
    const auto alone = [](Place& place) { return fib(place, 20); };
    CHECK_EQ(sched::fork_join(scheduler, alone, sched::With::kNobody), 6'765);
  }
}

TEST(a_worker_forks_at_its_own_place) {
  sched::Scheduler scheduler{{.workers = 2}};
  std::atomic<std::int64_t> answer{0};
  scheduler.submit([&answer](sched::Worker* worker) { answer = fib(worker->place(), 18); });
  scheduler.drain();
  CHECK_EQ(answer.load(), 2'584);
}

TEST(a_virtual_scheduler_forks_on_the_calling_thread_alone) {
  sched::Scheduler scheduler{{.workers = 3, .is_virtual = true}};
  const auto here = std::this_thread::get_id();
  int elsewhere = 0;
  sched::fork_join(scheduler, [&](Place& place) {
    for (int i = 0; i < 100; ++i) {
      fork2(place, [] {}, [&] { elsewhere += std::this_thread::get_id() != here ? 1 : 0; });
    }
  });
  CHECK_EQ(elsewhere, 0);
}

TEST(the_second_call_is_stolen_while_the_first_one_runs) {
  sched::Scheduler scheduler{{.workers = 1}};
  for (int i = 0; i < 50; ++i) {
    std::latch second{1};
    sched::fork_join(scheduler,
                     [&](Place& place) { fork2(place, [&] { second.wait(); }, [&] { second.count_down(); }); });
  }
}

TEST(a_forker_whose_child_was_stolen_sleeps_until_it_is_done) {
  sched::Scheduler scheduler{{.workers = 1, .spin_ns = 0}};
  for (int i = 0; i < 50; ++i) {
    std::latch begun{1}, asleep{1};
    std::atomic<bool> ended{false};
    std::thread later{[&] {
      begun.wait();
      std::this_thread::yield();
      asleep.count_down();
    }};
    sched::fork_join(scheduler, [&](Place& place) {
      fork2(
          place, [&] { begun.wait(); },
          [&] {
            begun.count_down();
            asleep.wait();
            ended = true;
          });
      CHECK(ended.load());
    });
    later.join();
  }
}

// Which of the two calls throws, and where the second one runs.
std::string thrown(bool first, bool second, bool stolen) {
  sched::Scheduler scheduler{{.workers = 1}};
  std::latch begun{1};
  int ran = 0;
  std::string what = "nothing";
  try {
    sched::fork_join(
        scheduler,
        [&](Place& place) {
          fork2(
              place,
              [&] {
                if (stolen) begun.wait();
                if (first) throw std::runtime_error{"first"};
              },
              [&] {
                ++ran;
                begun.count_down();
                if (second) throw std::runtime_error{"second"};
              });
        },
        stolen ? sched::With::kWorkers : sched::With::kNobody);
  } catch (const std::runtime_error& error) {
    what = error.what();
  }
  CHECK_EQ(ran, 1);
  return what;
}

TEST(both_calls_end_before_an_exception_leaves_and_the_first_ones_goes_first) {
  for (const bool stolen : {false, true}) {
    CHECK_EQ(thrown(false, false, stolen), "nothing");
    CHECK_EQ(thrown(true, false, stolen), "first");
    CHECK_EQ(thrown(false, true, stolen), "second");
    CHECK_EQ(thrown(true, true, stolen), "first");
  }
}

// Each level holds the next one's frame and no more: as deep as the user's own recursion.
int deep(Place& place, int levels) {
  int below = 0;
  if (levels > 0) fork2(place, [&](Place& here) { below = deep(here, levels - 1); }, [] {});
  return below + 1;
}
int deep_second(Place& place, int levels) {
  int below = 0;
  if (levels > 0) fork2(place, [] {}, [&](Place& here) { below = deep_second(here, levels - 1); });
  return below + 1;
}

TEST(forks_nest_five_thousand_deep_on_either_side) {
  sched::Scheduler scheduler{{.workers = 2}};
  CHECK_EQ(sched::fork_join(scheduler, [](Place& place) { return deep(place, 5'000); }), 5'001);
  CHECK_EQ(sched::fork_join(scheduler, [](Place& place) { return deep_second(place, 5'000); }), 5'001);
}

TEST(more_callers_than_places_work_alone_and_all_get_their_answer) {
  sched::Scheduler scheduler{{.workers = 1}};
  constexpr int kCallers = sched::Places::kMaxGuests + 8;
  std::latch all_in{kCallers};
  std::atomic<int> right{0};
  std::vector<std::thread> callers;
  for (int c = 0; c < kCallers; ++c) {
    callers.emplace_back([&] {
      right += sched::fork_join(scheduler, [&](Place& place) {
                 all_in.arrive_and_wait();
                 return fib(place, 10);
               }) == 55;
    });
  }
  for (auto& caller : callers) caller.join();
  CHECK_EQ(right.load(), kCallers);
}

}  // namespace
