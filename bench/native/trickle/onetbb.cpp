#include <atomic>

#include <tbb/global_control.h>
#include <tbb/task_arena.h>

#include "workload.hpp"

int main(int argc, char** argv) {
  const bench::Options options = bench::parse(argc, argv);
  const tbb::global_control limit{tbb::global_control::max_allowed_parallelism, 3};
  tbb::task_arena arena{2, 0};
  std::atomic<std::int64_t> ran{0};
  const auto give = [&] { arena.enqueue([&ran] { ran.fetch_add(1); }); };
  bench::trickle::measure("oneTBB enqueue", options, give, [&] { return ran.load(); });
}
