#include "tailrace/sched/scheduler.hpp"

#include "workload.hpp"

int main(int argc, char** argv) {
  using namespace tailrace;
  const bench::Options options = bench::parse(argc, argv);
  sched::Scheduler scheduler{{.workers = 1}};
  const auto give = [&](bench::wake::Task task) { scheduler.submit([task](sched::Worker*) { task(); }); };
  bench::wake::measure("tailrace", options, give);
  bench::wake::measure_spinning("tailrace", options, give);
  scheduler.drain();
}
