// test_crew.cpp -- workers that come and go: resize, and replacements for bodies that block.
#include <atomic>
#include <deque>
#include <latch>
#include <stdexcept>
#include <thread>

#include "../harness.hpp"
#include "tailrace/sched/scheduler.hpp"

namespace {

using namespace tailrace;
using sched::Scheduler;
using sched::Worker;

std::string message_of(auto&& call) {
  try {
    call();
  } catch (const std::exception& error) {
    return error.what();
  }
  return "no error";
}

// Waits for a state that must come; a test that hangs here has failed.
void until(auto&& condition) {
  while (!condition()) std::this_thread::yield();
}

// On a worker, not on the caller.
void hand(Scheduler& scheduler, auto closure) { CHECK(scheduler.try_submit(closure) == sched::Submitted::kQueued); }

// A body that says that it is here and waits to be let go.
struct Held {
  std::latch here{1}, go{1};
  void submit_to(Scheduler& scheduler, bool says_so = false) {
    hand(scheduler, [this, says_so](Worker* worker) {
      here.count_down();
      if (says_so) worker->begin_blocking();
      go.wait();
      if (says_so) worker->end_blocking();
    });
  }
};

int spares(const Scheduler& scheduler) { return scheduler.statistics().spares; }

TEST(more_workers_run_what_fewer_could_not) {
  std::deque<Held> held(3);
  Scheduler scheduler{{.workers = 1}};
  held[0].submit_to(scheduler);
  held[0].here.wait();
  scheduler.resize(3);
  CHECK_EQ(scheduler.worker_count(), 3);
  for (std::size_t i = 1; i < 3; ++i) {
    held[i].submit_to(scheduler);
    held[i].here.wait();  // hangs unless a new worker takes it
  }
  for (Held& one : held) one.go.count_down();
  CHECK_EQ(scheduler.statistics().threads, 3);
}

TEST(workers_that_are_too_many_retire_and_come_back) {
  Scheduler scheduler{{.workers = 3, .spin_ns = 0}};
  scheduler.ensure_started();
  for (int round = 0; round < 50; ++round) {
    scheduler.resize(1);
    until([&] { return spares(scheduler) == 2; });  // also those that were asleep
    scheduler.resize(3);
    CHECK_EQ(spares(scheduler), 0);
    std::latch all{3}, done{3};
    for (int i = 0; i < 3; ++i) {
      std::latch here{1};
      hand(scheduler, [&](Worker*) {
        here.count_down();
        all.arrive_and_wait();
        done.count_down();
      });
      here.wait();
    }
    done.wait();
  }
  CHECK_EQ(scheduler.statistics().threads, 3);  // the same threads, again and again
}

TEST(a_worker_that_retires_leaves_the_items_of_its_deque_to_the_others) {
  struct Counted final : sched::Item {
    void run(Worker*) override { left->count_down(); }
    void complete(base::Outcome) override { CHECK(false); }
    void drop() override {}
    std::latch* left = nullptr;
  };
  struct Busy final : sched::Item {
    void run(Worker*) override {
      here.count_down();
      go.wait();
    }
    void complete(base::Outcome) override { CHECK(false); }
    void drop() override {}
    std::latch here{1}, go{1};
  };
  std::deque<Counted> items(100);
  std::latch left{100};
  for (Counted& item : items) item.left = &left;
  Busy first;
  Scheduler scheduler{{.workers = 2}};
  scheduler.push_to(0, &first);  // the first worker keeps its place, so the second one is too many
  first.here.wait();
  hand(scheduler, [&](Worker* worker) {
    for (Counted& item : items) worker->push(&item);
    worker->scheduler().resize(1);  // this one retires, with a full deque
  });
  until([&] { return spares(scheduler) == 1; });
  first.go.count_down();
  left.wait();
}

TEST(a_resize_before_the_first_work_makes_no_thread) {
  Scheduler scheduler{{.workers = 2}};
  scheduler.resize(4);
  scheduler.resize(1);
  CHECK_EQ(scheduler.statistics().threads, 0);
  scheduler.ensure_started();
  CHECK_EQ(scheduler.statistics().threads, 1);
}

TEST(a_resize_outside_the_limits_or_after_stop_is_refused_in_words) {
  Scheduler scheduler{{.workers = 2, .max_workers = 4}};
  CHECK_THROWS(std::invalid_argument, scheduler.resize(0));
  CHECK_THROWS(std::invalid_argument, scheduler.resize(-1));
  CHECK_EQ(message_of([&] { scheduler.resize(5); }),
           "tailrace: resize(workers) takes 1 to max_workers = 4, got 5; for more make the scheduler with a larger "
           "max_workers");
  CHECK_EQ(scheduler.worker_count(), 2);
  scheduler.stop(base::kNever);
  CHECK_THROWS(std::logic_error, scheduler.resize(3));
  CHECK_EQ(scheduler.worker_count(), 2);
}

TEST(a_virtual_scheduler_is_resized_without_threads) {
  Scheduler scheduler{{.workers = 1, .is_virtual = true}};
  scheduler.resize(3);
  int ran = 0;
  for (int i = 0; i < 10; ++i) hand(scheduler, [&ran](Worker*) { ++ran; });
  scheduler.resize(2);
  scheduler.drain();
  CHECK_EQ(ran, 10);
  CHECK_EQ(scheduler.statistics().threads, 0);
}

TEST(a_body_that_waits_for_another_task_is_replaced_even_on_one_worker) {
  Held first;
  std::latch set{1};
  Scheduler scheduler{{.workers = 1}};
  first.submit_to(scheduler);  // so that the next two come in one claim, one behind the other on the same worker
  first.here.wait();
  hand(scheduler, [&set](Worker* worker) {
    worker->begin_blocking();
    set.wait();
    worker->end_blocking();
  });
  hand(scheduler, [&set](Worker*) { set.count_down(); });
  first.go.count_down();
  scheduler.drain();
  until([&] { return spares(scheduler) == 1; });  // one of the two has retired
  const auto now = scheduler.statistics();
  CHECK_EQ(now.blocked, 0);
  CHECK_EQ(now.threads, 2);
  CHECK_EQ(now.per_worker[0].items + now.per_worker[1].items, 3u);
  CHECK_EQ(now.per_worker[0].injected + now.per_worker[1].injected, 3u);
}

TEST(bodies_that_wait_for_each_other_in_a_chain_all_end) {
  std::deque<std::latch> set;
  for (int i = 0; i < 12; ++i) set.emplace_back(1);
  Scheduler scheduler{{.workers = 1, .max_workers = 12}};
  for (std::size_t i = 0; i < 11; ++i) {
    hand(scheduler, [mine = &set[i], next = &set[i + 1]](Worker* worker) {
      worker->begin_blocking();
      next->wait();
      worker->end_blocking();
      mine->count_down();
    });
  }
  hand(scheduler, [last = &set[11]](Worker*) { last->count_down(); });
  set[0].wait();
}

TEST(there_are_never_more_workers_than_the_limit) {
  std::deque<Held> held(2);
  std::atomic<bool> ran{false};
  Scheduler scheduler{{.workers = 1, .max_workers = 2}};
  for (Held& one : held) {
    one.submit_to(scheduler, true);
    one.here.wait();
  }
  until([&] { return scheduler.statistics().blocked == 2; });
  hand(scheduler, [&ran](Worker*) { ran = true; });
  CHECK_EQ(scheduler.statistics().threads, 2);
  CHECK(!ran.load());
  held[1].go.count_down();
  scheduler.resize(2);  // no more than the limit, with one that is blocked
  until([&] { return ran.load(); });
  CHECK_EQ(scheduler.statistics().threads, 2);
  held[0].go.count_down();
}

TEST(a_blocked_body_behind_the_gate_lets_the_next_one_in) {
  struct Gated final : sched::Item {
    void run(Worker* worker) override {
      worker->enter_body(false);  // thought short
      if (waits != nullptr) {
        worker->begin_blocking();
        waits->wait();
        worker->end_blocking();
      }
      worker->leave_body();
      if (sets != nullptr) sets->count_down();
      done->count_down();
    }
    void complete(base::Outcome) override { CHECK(false); }
    void drop() override {}
    std::latch *waits = nullptr, *sets = nullptr, *done = nullptr;
  };
  std::latch set{1}, done{2};
  Gated first, second;
  Scheduler scheduler{{.workers = 1}};
  first.waits = second.sets = &set;
  first.done = second.done = &done;
  scheduler.push_gated(&first);
  scheduler.push_gated(&second);
  done.wait();
}

TEST(pinned_workers_run_on_their_cpus_only) {
  const std::vector<int> allowed = sched::allowed_cpus();
  Scheduler scheduler{{.workers = 2, .affinity = sched::Affinity::cores()}};
  for (int i = 0; i < 2; ++i) {
    std::latch done{1};
    hand(scheduler, [&](Worker* worker) {
      CHECK(sched::allowed_cpus() ==
            std::vector<int>{allowed[static_cast<std::size_t>(worker->id()) % allowed.size()]});
      done.count_down();
    });
    done.wait();
  }
  CHECK(sched::allowed_cpus() == allowed);
}

}  // namespace
