// crew.cpp -- workers come and go, bodies block and a stop comes at any moment: everything runs once.
#include <atomic>
#include <deque>
#include <latch>
#include <memory>
#include <thread>
#include <vector>

#include "../cpp/harness.hpp"
#include "tailrace/base/random.hpp"
#include "tailrace/sched/scheduler.hpp"

namespace {

using namespace tailrace;
using sched::Scheduler;
using sched::Worker;

int amount(int base) { return base * static_cast<int>(test::stress_factor()); }

struct Counted final : sched::Item {
  void run(Worker* worker) override {
    worker->enter_body(open);
    worker->leave_body();
    end();
  }
  void complete(base::Outcome) override { end(); }
  void drop() override {}
  void end() {
    if (times.fetch_add(1) != 0) CHECK(false);
    left->fetch_sub(1);
  }
  std::atomic<int> times{0};
  std::atomic<int>* left = nullptr;
  bool open = false;
};

TEST(workers_come_and_go_while_three_threads_submit_and_every_item_runs_once) {
  const int each = amount(20'000);
  std::vector<Counted> items(static_cast<std::size_t>(6 * each));
  std::atomic<int> left{6 * each}, closures{0}, at_work{3};
  for (Counted& item : items) item.left = &left;
  Scheduler scheduler{{.workers = 2, .max_workers = 6, .spin_ns = 1'000}};
  std::vector<std::thread> threads;
  for (int p = 0; p < 3; ++p) {
    threads.emplace_back([&, p] {
      Counted* mine = &items[static_cast<std::size_t>(2 * p * each)];
      for (int i = 0; i < each; ++i) {
        mine[2 * i].open = i % 7 == 0;
        scheduler.push_gated(&mine[2 * i]);
        // Half of the items go to the deque of whoever runs the closure, which may retire before they are taken.
        scheduler.submit([&closures, item = &mine[2 * i + 1]](Worker* worker) {
          ++closures;
          if (worker != nullptr) return worker->push(item);
          item->end();
        });
      }
      --at_work;
    });
  }
  base::Random random{test::seed()};
  int resizes = 0;
  for (; at_work.load() > 0; ++resizes) {
    scheduler.resize(1 + static_cast<int>(random.below(6)));
    std::this_thread::yield();
  }
  for (auto& thread : threads) thread.join();
  scheduler.resize(1);
  while (left.load() != 0) std::this_thread::yield();
  CHECK_EQ(closures.load(), 3 * each);
  CHECK(resizes > 0);
  while (scheduler.statistics().threads - scheduler.statistics().spares != 1) std::this_thread::yield();
  CHECK_EQ(scheduler.statistics().lanes.deques, 0);
}

TEST(two_threads_may_resize_at_once) {
  Scheduler scheduler{{.workers = 1, .max_workers = 5, .spin_ns = 0}};
  std::atomic<int> ran{0};
  std::vector<std::thread> threads;
  for (std::uint64_t t = 0; t < 2; ++t) {
    threads.emplace_back([&, t] {
      base::Random random{test::seed() + t};
      for (int i = 0; i < amount(2'000); ++i) {
        scheduler.resize(1 + static_cast<int>(random.below(5)));
        scheduler.submit([&ran](Worker*) { ++ran; });
      }
    });
  }
  for (auto& thread : threads) thread.join();
  scheduler.drain();
  CHECK_EQ(ran.load(), 2 * amount(2'000));
}

TEST(bodies_that_block_on_each_other_are_replaced_while_the_number_of_workers_changes) {
  for (int round = 0; round < amount(300); ++round) {
    constexpr int kPairs = 6;  // no more can block at once than max_workers less one
    std::deque<std::latch> set;
    for (int i = 0; i < kPairs; ++i) set.emplace_back(1);
    std::latch done{2 * kPairs};
    Scheduler scheduler{{.workers = 1, .max_workers = 8, .spin_ns = 1'000}};
    for (std::size_t i = 0; i < kPairs; ++i) {
      CHECK(scheduler.try_submit([&done, latch = &set[i]](Worker* worker) {
        worker->begin_blocking();
        latch->wait();
        worker->end_blocking();
        done.count_down();
      }) == sched::Submitted::kQueued);
    }
    for (std::size_t i = kPairs; i-- > 0;) {
      if (round % 3 == 0) scheduler.resize(1 + static_cast<int>(i) % 3);
      scheduler.submit([&done, latch = &set[i]](Worker*) {
        latch->count_down();
        done.count_down();
      });
    }
    done.wait();
  }
}

TEST(every_closure_that_was_taken_runs_once_whenever_the_stop_comes) {
  for (int round = 0; round < amount(400); ++round) {
    constexpr std::size_t kEach = 400;
    std::vector<std::atomic<int>> ran(2 * kEach);
    std::vector<char> taken(2 * kEach, 0);
    std::atomic<std::size_t> submitted{0};
    {
      Scheduler scheduler{{.workers = 2, .max_workers = 4, .spin_ns = 1'000}};
      std::vector<std::thread> producers;
      for (std::size_t p = 0; p < 2; ++p) {
        producers.emplace_back([&, p] {
          for (std::size_t i = p * kEach; i < (p + 1) * kEach; ++i) {
            using sched::Submitted;
            Submitted how{};
            while ((how = scheduler.try_submit([&count = ran[i]](Worker*) { ++count; })) == Submitted::kFull) {
            }
            taken[i] = how == Submitted::kQueued;
            submitted.fetch_add(1, std::memory_order_relaxed);
          }
        });
      }
      const std::size_t wait_for = static_cast<std::size_t>(round) % 20 * 25;  // from the first closure to the middle
      while (submitted.load(std::memory_order_relaxed) < wait_for) base::pause();
      if (round % 2 == 0) scheduler.resize(1 + round % 4);
      CHECK(scheduler.stop(base::kNever));
      for (auto& producer : producers) producer.join();
    }
    for (std::size_t i = 0; i < 2 * kEach; ++i) {
      if (ran[i].load() != taken[i]) CHECK_EQ(ran[i].load(), int{taken[i]});
    }
  }
}

}  // namespace
