// test_task_group.cpp -- groups: nesting, spawning from inside, exceptions, cancellation and its callbacks.
#include "tailrace/sched/task_group.hpp"

#include <atomic>
#include <functional>
#include <latch>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "../harness.hpp"
#include "tailrace/sched/parallel.hpp"

namespace {

using namespace tailrace;
using sched::Place;
using sched::TaskGroup;
using sched::With;

TEST(every_task_of_a_group_has_run_when_the_wait_returns) {
  for (const With with : {With::kNobody, With::kWorkers}) {
    sched::Scheduler scheduler{{.workers = 2}};
    sched::fork_join(
        scheduler,
        [](Place& place) {
          TaskGroup group{place};
          std::atomic<int> ran{0};
          for (int round = 1; round <= 3; ++round) {  // a group can be used again
            for (int i = 0; i < 5'000; ++i) group.spawn([&ran] { ++ran; });
            group.wait();
            CHECK_EQ(ran.load(), round * 5'000);
          }
        },
        with);
  }
}

std::int64_t sum_tree(Place& place, int depth) {
  if (depth == 0) return 1;
  std::int64_t parts[3] = {};
  TaskGroup group{place};
  for (auto& part : parts) group.spawn([&part, depth](Place& here) { part = sum_tree(here, depth - 1); });
  group.wait();
  return parts[0] + parts[1] + parts[2];
}

TEST(groups_inside_groups_end_innermost_first_also_on_one_thread) {
  for (const int workers : {1, 3}) {
    sched::Scheduler scheduler{{.workers = workers}};
    for (const With with : {With::kNobody, With::kWorkers}) {
      CHECK_EQ(sched::fork_join(scheduler, [](Place& place) { return sum_tree(place, 8); }, with), 6'561);
    }
  }
}

TEST(a_nested_wait_on_the_only_worker_does_not_block_it) {
  sched::Scheduler scheduler{{.workers = 1}};
  std::atomic<std::int64_t> answer{0};
  scheduler.submit([&answer](sched::Worker* worker) { answer = sum_tree(worker->place(), 6); });
  scheduler.drain();
  CHECK_EQ(answer.load(), 729);
}

TEST(a_task_spawns_into_its_own_group_and_into_an_outer_one_from_any_place) {
  sched::Scheduler scheduler{{.workers = 3}};
  for (int round = 0; round < 30; ++round) {
    std::atomic<int> ran{0};
    sched::fork_join(scheduler, [&ran](Place& place) {
      TaskGroup outer{place};
      std::function<void(Place&, int)> grow = [&](Place& here, int left) {
        ++ran;
        if (left == 0) return;
        outer.spawn(here, [&grow, left](Place& there) { grow(there, left - 1); });
        TaskGroup inner{here};
        inner.spawn([&outer, &ran](Place& there) { outer.spawn(there, [&ran] { ++ran; }); });
        sched::fork2(here, [&](Place& there) { outer.spawn(there, [&ran] { ++ran; }); }, [&ran] { ++ran; });
        inner.wait();
      };
      for (int i = 0; i < 10; ++i) outer.spawn([&grow](Place& there) { grow(there, 20); });
      outer.wait();
    });
    CHECK_EQ(ran.load(), 10 * (21 + 20 * 3));
  }
}

// While a thread waits for a group it runs only what belongs to it: here the outer task would not be its own.
TEST(a_waiting_home_leaves_older_tasks_of_an_outer_group_alone) {
  sched::Scheduler scheduler{{.workers = 1}};
  sched::fork_join(
      scheduler,
      [](Place& place) {
        bool inner_waits = false, strange = false;
        int ran = 0;
        TaskGroup outer{place};
        outer.spawn([&] { strange = strange || inner_waits, ++ran; });
        outer.spawn([&](Place& here) {
          ++ran;
          TaskGroup inner{here};
          inner.spawn([&ran] { ++ran; });
          inner_waits = true;
          inner.wait();
          inner_waits = false;
        });
        outer.wait();
        CHECK(!strange);
        CHECK_EQ(ran, 3);
      },
      With::kNobody);
}

TEST(a_chain_of_spawns_a_hundred_thousand_long_needs_no_deeper_stack) {
  sched::Scheduler scheduler{{.workers = 2}};
  for (const With with : {With::kNobody, With::kWorkers}) {
    sched::fork_join(
        scheduler,
        [](Place& place) {
          TaskGroup group{place};
          int left = 100'000;
          std::function<void(Place&)> step = [&](Place& here) {
            if (--left > 0) group.spawn(here, [&step](Place& there) { step(there); });
          };
          group.spawn([&step](Place& there) { step(there); });
          group.wait();
          CHECK_EQ(left, 0);
        },
        with);
  }
}

TEST(the_first_exception_is_thrown_by_the_wait_and_the_others_are_counted) {
  sched::Scheduler scheduler{{.workers = 2}};
  sched::fork_join(scheduler, [](Place& place) {
    TaskGroup group{place};
    std::atomic<int> ran{0};
    for (int i = 0; i < 100; ++i) {
      group.spawn([&ran, i] {
        ++ran;
        if (i % 10 == 0) throw std::runtime_error{"one of ten"};
      });
    }
    CHECK_THROWS(std::runtime_error, group.wait());
    CHECK_EQ(ran.load(), 100);
    CHECK_EQ(group.failures(), 10u);
    group.wait();  // thrown once
  });
}

TEST(a_group_that_is_left_without_a_wait_still_waits) {
  sched::Scheduler scheduler{{.workers = 2}};
  std::atomic<int> ran{0};
  sched::fork_join(scheduler, [&ran](Place& place) {
    TaskGroup group{place};
    for (int i = 0; i < 1'000; ++i) {
      group.spawn([&ran] {
        ++ran;
        throw std::runtime_error{"dropped"};
      });
    }
  });
  CHECK_EQ(ran.load(), 1'000);
}

TEST(a_cancelled_group_skips_what_has_not_begun_and_destroys_it) {
  sched::Scheduler scheduler{{.workers = 1}};
  sched::fork_join(
      scheduler,
      [](Place& place) {
        TaskGroup group{place};
        int ran = 0, seen = 0;
        const auto held = std::make_shared<int>(0);
        for (int i = 0; i < 10; ++i) {
          group.spawn([&, held] {
            if (++ran == 3) CHECK(group.cancel());
            seen += group.token().cancelled() ? 1 : 0;
          });
        }
        group.wait();
        CHECK_EQ(ran, 3);
        CHECK_EQ(seen, 1);
        CHECK_EQ(group.skipped(), 7u);
        CHECK_EQ(held.use_count(), 1);
        CHECK(!group.cancel());
        group.spawn([&ran] { ++ran; });
        group.wait();
        CHECK_EQ(ran, 3);
      },
      With::kNobody);
}

TEST(a_cancel_callback_frees_a_body_that_waits) {
  sched::Scheduler scheduler{{.workers = 1}};
  std::latch begun{1}, freed{1};
  std::optional<std::thread> canceller;
  sched::fork_join(scheduler, [&](Place& place) {
    TaskGroup group{place};
    group.on_cancel([&freed] { freed.count_down(); });
    group.spawn([&] {
      begun.count_down();
      freed.wait();
    });
    canceller.emplace([&] {
      begun.wait();
      group.cancel();
    });
    group.wait();
    canceller->join();
  });
}

TEST(cancel_callbacks_are_called_once_in_order_or_at_once_or_never) {
  const auto held = std::make_shared<int>(0);
  std::string log;
  {
    sched::CancelSource source;
    source.on_cancel([&log, held] { log += "a"; });
    source.on_cancel([&log] { log += "b"; });
    source.on_cancel([&source, &log] {
      source.cancel();  // no lock is held
      source.on_cancel([&log] { log += "d"; });
      log += "c";
    });
    CHECK_EQ(log, "");
    CHECK(source.cancel());
    CHECK_EQ(log, "abdc");
    CHECK_EQ(held.use_count(), 1);
    source.on_cancel([&log] { log += "e"; });
    CHECK(!source.cancel());
    CHECK_EQ(log, "abdce");
  }
  {
    sched::CancelSource never;
    never.on_cancel([&log, held] { log += "x"; });
    CHECK_EQ(held.use_count(), 2);
  }
  CHECK_EQ(held.use_count(), 1);
  CHECK_EQ(log, "abdce");
  CHECK(!sched::CancelToken{}.cancelled());
}

}  // namespace
