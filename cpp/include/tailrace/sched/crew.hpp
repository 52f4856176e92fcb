// crew.hpp -- which workers run: as many as wanted, and one more for each that is blocked inside a body.
//
// What      Slots up to a limit, a thread made for each on demand. `resize` changes the number wanted; a worker that is
//           one too many retires: it sleeps as a spare until it is called again. A body that blocks is replaced.
// Why       A service follows its load and its container without a restart; a body that waits must not take a place.
// Threads   resize, begin_blocking, end_blocking: any thread, one after the other. retire, wait_as_spare, left: the
//           worker in that slot. The mutex is never held by a worker that finds work: none of this is per item.
// Checked   tests/model/retire.cpp (with idle, with mutants), tests/cpp/sched/test_crew.cpp, tests/stress/crew.cpp.
#pragma once

#include <cstdint>
#include <functional>
#include <mutex>
#include <string>
#include <vector>

#include "tailrace/base/atomic.hpp"
#include "tailrace/sched/thread.hpp"

namespace tailrace::sched {

class Crew {
 public:
  struct Hooks {
    std::function<void(int slot)> prepare;  // makes what the slot needs, before it counts as one
    std::function<std::string(int slot)> name;  // of its thread
    std::function<void(int slot)> body;  // what its thread does; ends with `left`
  };

  Crew(int wanted, int limit, Hooks hooks);
  Crew(const Crew&) = delete;
  Crew& operator=(const Crew&) = delete;

  // How many are to be runnable. relaxed: a number to go by; what must not be missed is said by is_over and slots.
  int wanted() const noexcept { return wanted_.load(base::relaxed); }
  int limit() const noexcept { return limit_; }

  // How many slots were ever in use; the queues of all of them may hold work.
  // [U1] seq_cst: a parker's last look must cover each slot whose worker has pushed before it showed itself.
  int slots() const noexcept { return slots_.load(base::seq_cst); }

  // Makes the threads; throws std::system_error when there can be none. Fewer than wanted still do all the work.
  void start();

  // True when there may be workers now that are one too many, and must be woken to see it.
  bool resize(int wanted);

  // Around a wait inside a body: another worker is called up in its place, if the limit allows it.
  void begin_blocking();
  bool end_blocking();  // true: as resize

  // Whether the worker in `slot` may be one too many: never one of the first `wanted`, which keep their places.
  // [U2] seq_cst: a worker about to park sees that it is one too many, or is seen as a sleeper by who wakes it for that.
  bool is_over(int slot) const noexcept { return over_.load(base::seq_cst) && is_beyond(slot); }
  // True when the worker in `slot`, which has nothing in its hands, is now a spare.
  bool retire(int slot);
  void wait_as_spare(int slot);  // until it is called up, or the crew ends

  // For work that only the worker in `slot` can do.
  // [U5] seq_cst: asked after the push; either the resize is seen here, or the push by the retiring worker's last look.
  bool is_beyond(int slot) const noexcept { return slot >= wanted_.load(base::seq_cst); }
  void recall(int slot);  // calls it up if it is a spare

  // From now on nobody retires, and spares come back to end.
  void end();
  void left(int slot);  // the worker in `slot` touches the scheduler no more

  // Waits until `deadline_ns` (monotonic) for every thread to end and joins those; true when there is none left. One
  // caller at a time.
  bool join_until(std::int64_t deadline_ns);
  std::vector<int> late() const;  // the slots whose threads have not ended

  struct Counts {
    int threads = 0;  // running or spare
    int active = 0;  // running, the blocked ones included
    int blocked = 0;
  };
  Counts counts() const;

 private:
  enum class State : std::uint8_t { kUnused, kActive, kSpare, kLeft };
  struct Slot {
    State state = State::kUnused;
    bool joined = false;
    Thread thread;
    base::atomic<std::uint32_t> call{0};  // 1: a spare goes on
  };

  int needed() const noexcept;  // with the mutex held, as the next three
  bool call_up();
  void activate(int slot);
  void note_over() noexcept;

  const int limit_;
  const Hooks hooks_;
  mutable std::mutex mutex_;
  std::vector<Slot> members_;
  int active_ = 0;
  int blocked_ = 0;
  bool started_ = false;
  bool ending_ = false;
  base::atomic<int> wanted_;
  base::atomic<int> slots_{0};
  base::atomic<bool> over_{false};
};

}  // namespace tailrace::sched
