// thread_clock.hpp -- how long a thread has computed.
//
// What      `ThreadClock`: the CPU time of the thread it was made on.
// Why       A thread that computes and one that waits look the same to others; the difference of two looks tells.
// Threads   of_this_thread: the thread. now_ns: any, while that thread lives.
// Checked   tests/cpp/base/test_thread_clock.cpp.
#pragma once

#include <cstdint>

namespace tailrace::base {

class ThreadClock {
 public:
  static ThreadClock of_this_thread() noexcept;
  std::int64_t now_ns() const noexcept;  // -1 where the system does not tell

 private:
  int id_ = 0;
  bool known_ = false;
};

}  // namespace tailrace::base
