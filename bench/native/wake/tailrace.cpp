#include "tailrace/sched/scheduler.hpp"

#include "workload.hpp"

int main(int argc, char** argv) {
  using namespace tailrace;
  const bench::Options options = bench::parse(argc, argv);
  sched::Scheduler scheduler{{.workers = 1}};
  bench::wake::measure("tailrace", options,
                       [&](bench::wake::Task task) { scheduler.submit([task](sched::Worker*) { task(); }); });
  scheduler.drain();
}
