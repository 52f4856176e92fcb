#include <thread>

#include "tailrace/sched/scheduler.hpp"
#include "workload.hpp"

namespace {

using namespace tailrace;
using bench::submit::Count;

// A full lane makes `submit` run the task here; a producer stays below that, so that the workers run them all.
constexpr std::int64_t kAhead = 1000;

void by_worker(const bench::Options& options) {
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

void two_by_two(const bench::Options& options) {
  sched::Scheduler scheduler{{.workers = 2}};
  struct Producer {
    Count by_worker[2];
    std::int64_t submitted = 0;
    std::int64_t ran() const { return by_worker[0].read() + by_worker[1].read(); }
  } producers[2];
  const auto half = [&](int p, int tasks) {
    Producer& mine = producers[p];
    std::int64_t seen = mine.ran();
    for (int i = 0; i < tasks; ++i) {
      if (mine.submitted - seen >= kAhead) {
        while (mine.submitted - (seen = mine.ran()) >= kAhead / 2) std::this_thread::yield();
      }
      scheduler.submit([&mine](sched::Worker* worker) {
        if (worker != nullptr) mine.by_worker[worker->id()].add();
      });
      ++mine.submitted;
    }
  };
  const auto finish = [&] { return scheduler.drain(), producers[0].ran() + producers[1].ran(); };
  bench::submit::measure_two_by_two("tailrace", options, half, finish);
}

}  // namespace

int main(int argc, char** argv) {
  const bench::Options options = bench::parse(argc, argv);
  helped(options);
  two_by_two(options);
  by_worker(options);
}
