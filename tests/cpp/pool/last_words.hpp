// last_words.hpp -- a fault is made in a child, and what the child says before it ends is looked at.
//
// What      `last_words(body)`: what it wrote to its standard error, with a full stop; "" when it did not end by the signal.
// Why       A fault ends the process, which is not what a test should do.
// Threads   The test's.
#pragma once

#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <string>

#include "../harness.hpp"

namespace tailrace::test {

// What a child says on its standard error before it ends by that signal; "" when it ends otherwise.
template <class Body>
std::string last_words(Body body, int by = SIGABRT) {
  int ends[2];
  CHECK_EQ(pipe(ends), 0);
  const pid_t child = fork();
  if (child == 0) {
    close(ends[0]);
    std::signal(by, SIG_DFL);
    dup2(ends[1], STDERR_FILENO);
    body();
    _exit(0);
  }
  close(ends[1]);
  std::string said;
  char part[256];
  for (ssize_t n; (n = read(ends[0], part, sizeof part)) > 0;) said.append(part, static_cast<std::size_t>(n));
  close(ends[0]);
  int status = 0;
  waitpid(child, &status, 0);
  return WIFSIGNALED(status) && WTERMSIG(status) == by ? said + "." : std::string{};
}

inline bool has(const std::string& text, const char* part) { return text.find(part) != std::string::npos; }

}  // namespace tailrace::test
