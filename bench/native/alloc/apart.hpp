// apart.hpp -- a row in a process of its own.
//
// What      `apart(work)`.
// Why       An allocator learns: glibc's mmap threshold grows with what was freed, caches hold what the last row left.
// Threads   The main thread, while there is no other.
#pragma once

#include <sys/wait.h>
#include <unistd.h>

#include "common.hpp"

namespace bench::alloc {

template <class Work>
void apart(Work&& work) {
  std::fflush(stdout);
  const pid_t child = ::fork();
  require(child >= 0, "the system made no process");
  if (child == 0) {
    work();
    std::fflush(stdout);
    ::_exit(0);
  }
  int status = 0;
  require(::waitpid(child, &status, 0) == child && status == 0, "a row's own process failed");
}

}  // namespace bench::alloc
