#include <tbb/global_control.h>
#include <tbb/task_arena.h>

#include "workload.hpp"

int main(int argc, char** argv) {
  const bench::Options options = bench::parse(argc, argv);
  const tbb::global_control limit{tbb::global_control::max_allowed_parallelism, 2};
  tbb::task_arena arena{1, 0};
  const auto give = [&](bench::wake::Task task) { arena.enqueue(task); };
  bench::wake::measure("oneTBB enqueue", options, give);
  bench::wake::measure_spinning("oneTBB enqueue", options, give);
}
