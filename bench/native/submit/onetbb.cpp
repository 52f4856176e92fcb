#include <atomic>

#include <tbb/global_control.h>
#include <tbb/task_arena.h>
#include <tbb/task_group.h>

#include "workload.hpp"

namespace {

using bench::submit::Count;

// Fire and forget, as a service does it: only the arena's one worker runs the tasks, so it counts without a lock.
void by_worker(const bench::Options& options) {
  tbb::task_arena arena{1, 0};
  std::atomic<int> done{0};
  arena.enqueue([&] { bench::pin_this_thread(1), done.store(1), done.notify_one(); });
  done.wait(0);
  bench::pin_this_thread(0);
  Count count;
  bench::submit::measure("submit", "oneTBB enqueue", options, [&](int tasks) {
    const std::int64_t before = count.read();
    done.store(0);
    for (int i = 0; i < tasks; ++i) {
      arena.enqueue([&, last = before + tasks] {
        if (count.add() == last) done.store(1), done.notify_one();
      });
    }
    done.wait(0);
    return count.read() - before;
  });
}

void two_by_two(const bench::Options& options) {
  const tbb::global_control limit{tbb::global_control::max_allowed_parallelism, 3};
  tbb::task_arena arena{2, 0};
  Count counts[2];
  std::atomic<std::int64_t> left{0};
  const auto half = [&](int, int tasks) {
    left.fetch_add(tasks);
    for (int i = 0; i < tasks; ++i) {
      arena.enqueue([&] {
        counts[tbb::this_task_arena::current_thread_index() & 1].add();
        if (left.fetch_sub(1) == 1) left.notify_one();
      });
    }
  };
  const auto finish = [&] {
    for (std::int64_t now = 0; (now = left.load()) != 0;) left.wait(now);
    return counts[0].read() + counts[1].read();
  };
  bench::submit::measure_two_by_two("oneTBB enqueue", options, half, finish);
}

// The producer's own deque, from which the worker steals; the producer helps at the end.
void helped(const bench::Options& options) {
  tbb::task_arena arena{2, 1};
  Count counts[2];
  bench::submit::measure("submit.helped", "oneTBB task_group", options, [&](int tasks) {
    const std::int64_t before = counts[0].read() + counts[1].read();
    arena.execute([&] {
      tbb::task_group all;
      for (int i = 0; i < tasks; ++i) {
        all.run([&] { counts[tbb::this_task_arena::current_thread_index() & 1].add(); });
      }
      all.wait();
    });
    return counts[0].read() + counts[1].read() - before;
  });
}

}  // namespace

int main(int argc, char** argv) {
  const bench::Options options = bench::parse(argc, argv);
  two_by_two(options);
  const tbb::global_control limit{tbb::global_control::max_allowed_parallelism, 2};
  helped(options);
  by_worker(options);
}
