#include <thread>

#include "tailrace/sched/scheduler.hpp"
#include "workload.hpp"

namespace {

using namespace tailrace;
using bench::submit::Count;

// A full lane makes `submit` run the task here; the producer stays below that, so that the worker runs them all.
void by_worker(const bench::Options& options) {
  constexpr std::int64_t kAhead = 1000;
  sched::Scheduler scheduler{{.workers = 1}};
  scheduler.submit([](sched::Worker*) { bench::pin_this_thread(1); });
  scheduler.drain();
  bench::pin_this_thread(0);
  Count count;
  bench::submit::measure("submit", "tailrace", options, [&](int tasks) {
    const std::int64_t before = count.read();
    std::int64_t seen = before;
    for (std::int64_t i = before; i < before + tasks; ++i) {
      if (i - seen >= kAhead) {
        while (i - (seen = count.read()) >= kAhead / 2) std::this_thread::yield();
      }
      scheduler.submit([&count](sched::Worker* worker) {
        if (worker != nullptr) count.add();
      });
    }
    scheduler.drain();
    return count.read() - before;
  });
}

void helped(const bench::Options& options) {
  sched::Scheduler scheduler{{.workers = 1}};
  Count counts[2];
  bench::submit::measure("submit.helped", "tailrace", options, [&](int tasks) {
    const std::int64_t before = counts[0].read() + counts[1].read();
    for (int i = 0; i < tasks; ++i) {
      scheduler.submit([where = &counts[0]](sched::Worker* worker) { where[worker == nullptr ? 1 : 0].add(); });
    }
    scheduler.drain();
    return counts[0].read() + counts[1].read() - before;
  });
}

}  // namespace

int main(int argc, char** argv) {
  const bench::Options options = bench::parse(argc, argv);
  helped(options);
  by_worker(options);
}
