#include <atomic>

#include "tailrace/sched/scheduler.hpp"

#include "workload.hpp"

int main(int argc, char** argv) {
  using namespace tailrace;
  const bench::Options options = bench::parse(argc, argv);
  sched::Scheduler scheduler{{.workers = 2}};
  std::atomic<int> ran{0};
  int asked = 0;
  bench::idle::measure("tailrace", options, [&] {
    scheduler.submit([&ran](sched::Worker*) { ran.fetch_add(1); });
    scheduler.drain();
    return ran.load() == ++asked;
  });
}
