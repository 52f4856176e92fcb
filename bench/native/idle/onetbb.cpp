#include <atomic>

#include <tbb/global_control.h>
#include <tbb/task_arena.h>

#include "workload.hpp"

int main(int argc, char** argv) {
  const bench::Options options = bench::parse(argc, argv);
  const tbb::global_control limit{tbb::global_control::max_allowed_parallelism, 3};
  tbb::task_arena arena{2, 0};
  std::atomic<int> ran{0};
  int asked = 0;
  bench::idle::measure("oneTBB", options, [&] {
    arena.enqueue([&ran] { ran.fetch_add(1), ran.notify_one(); });
    ran.wait(asked);
    return ran.load() == ++asked;
  });
}
