// gil_probe.hpp -- does a body let go of the GIL, and for how much of its time?
//
// What      One body at a time is probed; the worker that comes in behind it asks for the GIL again and again until it ends.
// Why       CPython tells nobody whether a thread holds the GIL, and a body that computes without it burns as much CPU as
//           one that holds it. Who asks at intervals of kPauseNs learns it, and counts only what others could use. A free
//           GIL says nothing while the body does not compute: it may sleep, or be about to take the GIL back.
// Threads   begin, end, and the sums: under the GIL. `asks`: without it, by the one worker that looks.
#pragma once

#include <cstdint>

#include "tailrace/base/atomic.hpp"
#include "tailrace/base/clock.hpp"

namespace tailrace::bindings {

class GilProbe {
 public:
  struct Seen {
    std::int64_t inside_ns = 0;
    std::int64_t outside_ns = 0;
  };

  // Before a body: false when another one is being probed.
  bool begin() noexcept;
  // After it, by the same thread.
  Seen end() noexcept;

  // relaxed, all here: hints to the one worker that comes; what is counted changes hands with the GIL.
  bool is_under_way() const noexcept { return under_way_.load(base::relaxed); }
  // The body that is probed is one around us on this very thread.
  bool is_own() const noexcept;
  // By who is about to ask for the GIL.
  void asks() noexcept { asked_ns_.store(base::monotonic_ns(), base::relaxed); }

  // By who has come in and found a body under way. Lets go of the GIL by `let_go(pause_ns)` and asks again, until the body
  // ends or it has seen enough.
  template <class LetGo>
  void look(LetGo&& let_go);

 private:
  static constexpr std::int64_t kFreeNs = 3'000;  // who gets the GIL sooner found it free
  static constexpr std::int64_t kPauseNs = 20'000;  // shorter stretches without the GIL are no use to anybody
  static constexpr std::int64_t kEnoughNs = 500'000;

  base::atomic<bool> under_way_{false};
  base::atomic<std::int64_t> asked_ns_{0};  // 0: nobody waits for the GIL
  bool looked_ = false;
  struct Owner;
  void count(std::int64_t ns, bool was_free) noexcept;
  Owner* owner_ = nullptr;  // the thread whose body is probed
  Seen seen_;
};

template <class LetGo>
void GilProbe::look(LetGo&& let_go) {
  if (looked_ || !is_under_way()) return asked_ns_.store(0, base::relaxed);
  looked_ = true;
  const std::int64_t first_ns = asked_ns_.load(base::relaxed);
  std::int64_t counted_ns = first_ns;
  for (;;) {
    const std::int64_t now = base::monotonic_ns();
    const std::int64_t asked_ns = asked_ns_.exchange(0, base::relaxed);
    if (!is_under_way()) return;  // it ended while we waited, and has counted that
    count(now - counted_ns, now - asked_ns < kFreeNs);
    counted_ns = now;
    if (now - first_ns > kEnoughNs) return;
    let_go(kPauseNs);
  }
}

}  // namespace tailrace::bindings
