// loop_turn.hpp -- for how long this thread has run steps on its event loop, in the present turn of the loop.
//
// What      Each start may take 50 us of a turn. Once that adds up to a millisecond, starts leave their steps to workers.
//           When the turn itself has gone on for so long, an await whose value is there lets others go first.
// Why       A thousand starts, or a task that awaits run after run, would keep the loop from its timers and sockets.
// Threads   The loop's thread; each thread has its own.
#pragma once

#include "bindings.hpp"

namespace tailrace::bindings {

class LoopTurn {
 public:
  // Is the turn's share of steps used up? A loop that ended in such a turn never says so: the thread's next loop is not
  // to suffer for it.
  bool no_more_steps(std::int64_t now_ns) noexcept {
    if (asked_ns_ != 0 && now_ns - asked_ns_ > kGiveUpNs) next();
    return steps_ns_ >= kTurnNs;
  }
  // The turn has been long, as far as is known.
  bool is_long() const noexcept { return steps_ns_ >= kTurnNs || (asked_ns_ != 0 && last_ns_ - asked_ns_ >= kTurnNs); }
  // Steps have run here from `began_ns` to `ended_ns`. Once they add up, the loop is asked to say when its next turn
  // begins, by one call_soon.
  void charge(std::int64_t began_ns, std::int64_t ended_ns, PyObject* loop);
  void next() noexcept { *this = LoopTurn{}; }

 private:
  static constexpr std::int64_t kTurnNs = 1'000'000;
  static constexpr std::int64_t kAskNs = kTurnNs / 10;
  static constexpr std::int64_t kGiveUpNs = 100'000'000;

  std::int64_t steps_ns_ = 0;
  std::int64_t asked_ns_ = 0;  // when the loop was asked; 0: not yet
  std::int64_t last_ns_ = 0;  // when steps last ended
};
extern thread_local LoopTurn loop_turn;

}  // namespace tailrace::bindings
