// test_scheduler_blocks.cpp -- where the scheduler's own objects lie.
#include "tailrace/pool/scheduler_blocks.hpp"

#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <memory>

#include "../harness.hpp"
#include "tailrace/flow/runner.hpp"
#include "tailrace/sched/scheduler.hpp"
#include "tailrace/sched/task_group.hpp"

namespace {

using namespace tailrace;

TEST(run_blocks_and_tasks_of_groups_lie_in_the_schedulers_pool) {
  const pool::PoolStatistics before = pool::scheduler_blocks().statistics();
  sched::Scheduler scheduler{{.workers = 2}};
  sched::fork_join(scheduler, [](sched::Place& place) {
    sched::TaskGroup group{place};
    for (int i = 0; i < 1000; ++i) group.spawn([] {});
    group.wait();
  });
  const pool::PoolStatistics after = pool::scheduler_blocks().statistics();
  CHECK_EQ(after.n_alloc - before.n_alloc, std::uint64_t{1000});
  CHECK_EQ(after.used_bytes, before.used_bytes);
}

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)  // which need address space themselves
TEST(where_address_space_is_short_the_heap_serves) {
  const pid_t child = fork();
  if (child == 0) {
    const rlimit little{.rlim_cur = std::size_t{1} << 30, .rlim_max = std::size_t{1} << 30};
    setrlimit(RLIMIT_AS, &little);
    const auto blocks = std::make_unique<pool::SchedulerBlocks>();
    void* block = blocks->take(1000);
    blocks->give(block, 1000);
    _exit(blocks->statistics().n_alloc == 0 && block != nullptr ? 0 : 1);
  }
  int status = 0;
  waitpid(child, &status, 0);
  CHECK_EQ(status, 0);
}
#endif

}  // namespace
