// test_membarrier.cpp -- the barrier for all: after a fork, and where a filter forbids it.
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <latch>

#include "../harness.hpp"
#include "tailrace/base/membarrier.hpp"
#include "tailrace/sched/scheduler.hpp"

namespace {

using namespace tailrace;

// Runs `body` in a child process: its exit status. Children that hang are ended by the alarm, which is a failure.
template <class Body>
int in_child(Body body) {
  const pid_t child = fork();
  if (child == 0) {
    alarm(60);
    _exit(body());
  }
  int status = -1;
  waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

// From here on the kernel answers every membarrier of this process with EPERM.
bool forbid_membarrier() {
  sock_filter code[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 0),  // the number of the call
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_membarrier, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  const sock_fprog program{.len = sizeof(code) / sizeof(code[0]), .filter = code};
  return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 && prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

int bursts() {
  sched::Scheduler scheduler{{.workers = 2, .spin_ns = 0}};
  for (int round = 0; round < 50; ++round) {
    std::latch done{2};
    for (int i = 0; i < 2; ++i) scheduler.submit([&done](sched::Worker*) { done.count_down(); });
    done.wait();
  }
  return 0;
}

TEST(the_barrier_works_again_in_a_forked_child) {
  if (!base::membarrier_works()) return;
  CHECK(base::membarrier());
  CHECK_EQ(in_child([] { return base::membarrier() ? 0 : 1; }), 0);
}

TEST(a_barrier_that_is_forbidden_after_it_worked_loses_no_work) {
  const int status = in_child([] {
    const bool before = base::membarrier_works();
    if (!forbid_membarrier()) return 0;  // a system without filters: nothing to show
    if (base::membarrier() || base::membarrier_works() != before) return 1;
    return bursts();
  });
  CHECK_EQ(status, 0);
}

}  // namespace
