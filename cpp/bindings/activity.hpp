// activity.hpp -- whether any runtime of the process has work, and one sleeper who waits until none has.
//
// What      Runs and tasks begun and ended, of all runtimes together; `wait_idle` for the thread of a GC guard.
// Why       A guard collects while there is nothing to do. Asking each runtime would need the GIL at every look, and a wake
//           at the end of each run would cost its caller 6 us: the sleeper looks at two counts, without the GIL, by time.
// Threads   begun, ended, nudge: under the GIL (the core section), as the ledger. The sleeper reads the counts without it; what it
//           sees is a hint, and who acts on it asks `in_flight` again under the GIL.
// Checked   tests/python/test_idle_wait.py.
#pragma once

#include <Python.h>

#include <cstdint>

#include "tailrace/base/atomic.hpp"

namespace tailrace::bindings {

class Activity {
 public:
  // relaxed (all counts): one writer at a time, and what the reader without the GIL sees is a hint.
  void begin() noexcept { begun_.store(begun_.load(base::relaxed) + 1, base::relaxed); }

  void end() noexcept {
    const std::uint64_t ended = ended_.load(base::relaxed);
    if (ended == begun_.load(base::relaxed)) return;  // in the child of a fork: a run of the parent's
    ended_.store(ended + 1, base::relaxed);
    if (asleep_) wake();
  }

  std::uint64_t begun() const noexcept { return begun_.load(base::relaxed); }
  std::uint64_t in_flight() const noexcept {
    const std::uint64_t ended = ended_.load(base::relaxed);  // first: what has ended since makes it more, never less
    return begun_.load(base::relaxed) - ended;
  }

  // Makes the sleeper's wait return, or its next one.
  void nudge() noexcept {
    nudged_ = true;
    wake();
  }

  // With the GIL, which it gives up while it sleeps. True once work has begun since `seen` was the count of it, and then
  // nothing has been in flight for `quiet_ns`; false after `limit_ns` of work, or a nudge.
  bool wait_idle(std::uint64_t seen, std::int64_t quiet_ns, std::int64_t limit_ns);

  void after_fork() noexcept;  // in the child: nothing is in flight, nobody sleeps

 private:
  void wake() noexcept;
  bool has_news(std::uint64_t seen, std::uint32_t word) const noexcept;
  bool linger(std::uint64_t seen, std::uint32_t word) const;
  bool is_quiet_within(std::uint32_t word, std::int64_t quiet_ns, std::int64_t limit_ns) const;

  base::atomic<std::uint64_t> begun_{0};
  base::atomic<std::uint64_t> ended_{0};
  base::atomic<std::uint32_t> word_{0};  // what the sleeper sleeps on; changed under the GIL
  bool asleep_ = false;  // without a limit: the end of a run has to wake it
  bool nudged_ = false;
};

extern Activity activity;

}  // namespace tailrace::bindings
