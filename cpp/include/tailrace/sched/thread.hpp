// thread.hpp -- a thread that can be waited for with a limit, and left behind.
//
// What      A named native thread with a `finished` word to sleep on.
// Why       A body may block for ever. Stop waits a bounded time, joins who has finished and leaves the others,
//           which std::thread cannot do.
// Threads   join_until: one caller. A thread that is never joined must not outlive what it uses.
#pragma once

#include <pthread.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "tailrace/base/atomic.hpp"

namespace tailrace::sched {

class Thread {
 public:
  Thread() = default;
  // Starts `body` on a new thread called `name` (the system shows 15 characters). Throws std::system_error.
  Thread(std::string name, std::function<void()> body);
  Thread(Thread&&) = default;
  Thread& operator=(Thread&&) = default;

  // Waits until `deadline_ns` (monotonic) for the thread to end and joins it; false: it still runs, ask again. A thread
  // does not wait for itself: false at once.
  bool join_until(std::int64_t deadline_ns);

  bool finished() const noexcept;
  const std::string& name() const noexcept;

 private:
  struct Shared;
  static void* enter(void* shared);

  std::shared_ptr<Shared> shared_;
  pthread_t handle_{};
};

}  // namespace tailrace::sched
