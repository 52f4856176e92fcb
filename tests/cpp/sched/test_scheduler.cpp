// test_scheduler.cpp -- submit, push, stop; and the virtual runtime, which repeats itself from its seed.
#include <atomic>
#include <deque>
#include <latch>
#include <memory>
#include <thread>
#include <vector>

#include "../harness.hpp"
#include "tailrace/sched/scheduler.hpp"

namespace {

using namespace tailrace;

struct Note final : sched::Item {
  Note() = default;
  Note(std::vector<int>& to, int number, sched::Priority wanted) : log{&to}, id{number} { priority = wanted; }
  void run(sched::Worker* worker) override {
    if (worker != nullptr) worker->enter_body(open);
    if (log != nullptr) log->push_back(id);
    if (until != nullptr) until->wait();
    ++ran;
    if (after != nullptr) after->count_down();
    if (worker != nullptr) worker->leave_body();
  }
  void complete(base::Outcome) override { ++ended; }
  void drop() override { CHECK(false); }
  std::vector<int>* log = nullptr;
  int id = 0;
  bool open = false;
  std::latch* until = nullptr;
  std::latch* after = nullptr;
  std::atomic<int> ran{0}, ended{0};
};

TEST(every_closure_from_several_threads_runs_once) {
  sched::Scheduler scheduler{{.workers = 2}};
  std::atomic<int> ran{0};
  std::vector<std::thread> producers;
  for (int p = 0; p < 3; ++p) {
    producers.emplace_back([&] {
      for (int i = 0; i < 5'000; ++i) scheduler.submit([&ran](sched::Worker*) { ++ran; });
    });
  }
  for (auto& producer : producers) producer.join();
  scheduler.drain();
  CHECK_EQ(ran.load(), 15'000);
}

TEST(a_closure_that_is_submitted_alone_runs_though_nobody_waits_for_it) {
  sched::Scheduler scheduler{{.workers = 1}};
  for (int i = 0; i < 200; ++i) {
    std::latch done{1};
    scheduler.submit([&done](sched::Worker*) { done.count_down(); });
    done.wait();
  }
}

TEST(gated_items_run_once_each_and_an_open_body_lets_the_next_one_in) {
  sched::Scheduler scheduler{{.workers = 2}};
  std::latch second_done{1}, all{2};
  Note first, second;
  first.open = true;
  first.until = &second_done;  // ends only when the second has run
  first.after = &all;
  second.open = true;
  second.after = &second_done;
  scheduler.push_gated(&first);
  scheduler.push_gated(&second);
  second_done.wait();
  all.count_down();
  all.wait();
  scheduler.stop_begin();
  CHECK(scheduler.stop_wait(base::kNever));
  CHECK_EQ(first.ran + second.ran, 2);
}

TEST(a_long_body_that_was_thought_short_lets_the_next_one_in_after_a_while) {
  sched::Scheduler scheduler{{.workers = 2}};
  std::latch second_done{1};
  Note first, second;
  first.until = &second_done;
  second.after = &second_done;
  scheduler.push_gated(&first);
  scheduler.push_gated(&second);
  second_done.wait();  // only the watch can open the gate
}

TEST(an_item_pushed_after_stop_is_completed_as_cancelled) {
  sched::Scheduler scheduler{{.workers = 1}};
  scheduler.stop_begin();
  CHECK(scheduler.stop_wait(base::kNever));
  Note late;
  scheduler.push_gated(&late);
  CHECK_EQ(late.ran.load(), 0);
  CHECK_EQ(late.ended.load(), 1);
  int ran = 0;
  scheduler.submit([&ran](sched::Worker*) { ++ran; });
  CHECK_EQ(ran, 1);  // the caller ran it
}

TEST(a_stop_that_is_too_short_says_no_until_the_body_has_ended) {
  sched::Scheduler scheduler{{.workers = 1}};
  std::latch here{1}, go{1};
  scheduler.submit([&](sched::Worker*) {
    here.count_down();
    go.wait();
  });
  here.wait();
  scheduler.stop_begin();
  CHECK(!scheduler.stop_wait(base::monotonic_ns()));
  CHECK(!scheduler.stop_wait(base::monotonic_ns()));
  go.count_down();
  CHECK(scheduler.stop_wait(base::kNever));
}

TEST(a_worker_count_outside_the_limits_is_refused) {
  CHECK_THROWS(std::invalid_argument, sched::Scheduler{{.workers = 0}});
  CHECK_THROWS(std::invalid_argument, sched::Scheduler{{.workers = sched::kMaxWorkers + 1}});
  CHECK_THROWS(std::invalid_argument, sched::Scheduler{{.workers = 1, .max_blocking = 0}});
  CHECK_THROWS(std::invalid_argument, sched::Scheduler{{.workers = 1, .affinity = sched::Affinity::list({})}});
}

std::vector<int> virtual_order(std::uint64_t seed) {
  sched::Scheduler scheduler{{.workers = 3, .seed = seed, .is_virtual = true}};
  std::vector<int> log;
  std::deque<Note> notes;
  for (int i = 0; i < 30; ++i) {
    const auto priority = static_cast<sched::Priority>(i % 3);
    scheduler.push_gated(&notes.emplace_back(log, i, priority));
  }
  while (scheduler.drive_once()) {
  }
  return log;
}

TEST(a_virtual_scheduler_repeats_itself_from_its_seed_and_takes_the_highest_priority_first) {
  const std::vector<int> order = virtual_order(1);
  CHECK_EQ(order.size(), 30u);
  for (std::size_t i = 0; i < order.size(); ++i) CHECK_EQ(order[i] % 3, static_cast<int>(i / 10));
  CHECK(order == virtual_order(1));
  CHECK(order != virtual_order(2));
}

TEST(a_virtual_timer_fires_when_time_is_moved_to_it) {
  struct Once final : sched::Timer {
    void fire() override { ++fired; }
    int fired = 0;
  };
  sched::Scheduler scheduler{{.workers = 1, .is_virtual = true}};
  Once once;
  scheduler.arm(once, 1'000);
  CHECK(!scheduler.drive_once());
  CHECK_EQ(scheduler.next_event_ns(), 1'000);
  scheduler.virtual_clock().advance_to(1'000);
  CHECK(scheduler.drive_once());
  CHECK_EQ(once.fired, 1);
}

TEST(a_real_timer_fires_while_every_worker_is_inside_a_body) {
  struct Once final : sched::Timer {
    void fire() override { fired.count_down(); }
    std::latch fired{1};
  };
  sched::Scheduler scheduler{{.workers = 1}};
  Once once;
  scheduler.submit([&once](sched::Worker*) { once.fired.wait(); });
  scheduler.arm(once, base::monotonic_ns() + 1'000'000);
  once.fired.wait();
}

}  // namespace
