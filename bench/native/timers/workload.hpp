// What the deadlines of runs cost: nanoseconds to arm a timer and to cancel it, or to arm it and to let it fire.
//
// timers.cancel.N    N timers stand, an hour ahead; the oldest is cancelled and armed again, the latest of all.
// timers.cancel2.N   the same by two threads at once, each with N timers of its own; a thread's nanoseconds.
// timers.fire.N      N timers stand, within a second; time goes to the next, which is armed again when it has fired.
// timers.late        microseconds from the deadline of a timer that stands alone, a millisecond ahead, until it fires.
// N = 1 is a caller that starts one run with a deadline after the other.
#pragma once

#include <atomic>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "common.hpp"

namespace bench::timers {

inline constexpr const char* kUnit = "ns";
inline constexpr int kOps = 200'000;
inline constexpr std::int64_t kHour = 3'600'000'000'000;

// An engine with its own thread: `arm(timer, deadline_ns)`, `cancel(timer)` by any thread, times of the steady clock.
template <class Engine>
double cancels(Engine& engine, int standing, int ops) {
  using Timer = typename Engine::Timer;
  std::vector<std::unique_ptr<Timer>> timers;
  std::int64_t due = now_ns() + kHour;
  for (int i = 0; i < standing; ++i) engine.arm(*timers.emplace_back(std::make_unique<Timer>()), ++due);
  bool all = true;
  const std::int64_t began = now_ns();
  for (int i = 0, oldest = 0; i < ops; ++i, oldest = oldest + 1 < standing ? oldest + 1 : 0) {
    Timer& timer = *timers[static_cast<std::size_t>(oldest)];
    all = engine.cancel(timer) && all;
    engine.arm(timer, due += 1'000);
  }
  const auto took = static_cast<double>(now_ns() - began);
  for (auto& timer : timers) all = engine.cancel(*timer) && all;
  require(all, "a timer that was armed could not be cancelled an hour before its deadline");
  return took / ops;
}

// The engine's timer writes `fired_ns`.
template <class Engine>
void lateness(Engine& engine, int times, Samples& samples) {
  for (int i = 0; i < times; ++i) {
    typename Engine::Timer timer;
    const std::int64_t due = now_ns() + 1'000'000;
    engine.arm(timer, due);
    while (timer.fired_ns.load() == 0) pause_for(std::chrono::microseconds{200});
    require(timer.fired_ns.load() >= due, "a timer fired before its deadline");
    samples.add(static_cast<double>(timer.fired_ns.load() - due) / 1e3);
  }
}

// An engine whose time is moved by hand: `arm`, and `advance(now_ns)`, which fires what is due, gives each that has
// fired to `again(timer)`, and returns the next deadline.
template <class Engine>
double fires(Engine& engine, int standing, int ops) {
  using Timer = typename Engine::Timer;
  std::vector<std::unique_ptr<Timer>> timers;
  std::uint64_t random = 1;
  std::int64_t now = 0, last = 0, fired = 0;
  const auto some_time_later = [&] {
    random = random * 6364136223846793005u + 1442695040888963407u;
    return now + 1 + static_cast<std::int64_t>(random >> 34);  // within a second
  };
  bool right = true;
  for (int i = 0; i < standing; ++i) engine.arm(*timers.emplace_back(std::make_unique<Timer>()), some_time_later());
  const std::int64_t began = now_ns();
  for (std::int64_t next = engine.next(); fired < ops; next = engine.next()) {
    now = next;
    engine.advance(now, [&](Timer& timer, std::int64_t deadline_ns) {
      right = right && deadline_ns >= last && deadline_ns <= now;
      last = deadline_ns;
      ++fired;
      engine.arm(timer, some_time_later());
    });
  }
  const auto took = static_cast<double>(now_ns() - began);
  for (auto& timer : timers) right = engine.cancel(*timer) && right;
  require(right, "timers fired early, late or out of order");
  return took / static_cast<double>(fired);
}

template <class Real, class Moved>
void measure(const char* engine, const Options& options) {
  for (int pass = 0; pass < options.passes; ++pass) {
    {
      Real real;
      Samples late{200};
      lateness(real, scaled(200, options), late);
      print("timers.late", engine, "us", late);
    }
    for (const int standing : {1, 10, 1'000, 100'000}) {
      const std::string n = standing == 100'000 ? "100k" : standing == 1'000 ? "1k" : std::to_string(standing);
      const int ops = scaled(kOps, options);
      Samples one{3}, two{6}, fired{3};
      for (int round = 0; round < 3; ++round) {
        Real alone;
        one.add(cancels(alone, standing, ops));
        Real shared;
        double other = 0;
        std::thread beside{[&] { other = cancels(shared, standing, ops); }};
        two.add(cancels(shared, standing, ops));
        beside.join();
        two.add(other);
        Moved moved;
        fired.add(fires(moved, standing, ops));
      }
      print(("timers.cancel." + n).c_str(), engine, kUnit, one);
      print(("timers.cancel2." + n).c_str(), engine, kUnit, two);
      print(("timers.fire." + n).c_str(), engine, kUnit, fired);
    }
  }
}

}  // namespace bench::timers
