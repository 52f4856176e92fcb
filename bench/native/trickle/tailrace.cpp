#include <atomic>

#include "tailrace/sched/scheduler.hpp"

#include "workload.hpp"

int main(int argc, char** argv) {
  using namespace tailrace;
  const bench::Options options = bench::parse(argc, argv);
  sched::Scheduler scheduler{{.workers = 2}};
  std::atomic<std::int64_t> ran{0};
  const auto give = [&] { scheduler.submit([&ran](sched::Worker*) { ran.fetch_add(1); }); };
  bench::trickle::measure("tailrace", options, give, [&] { return ran.load(); });
}
