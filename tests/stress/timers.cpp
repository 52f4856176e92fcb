// timers.cpp -- timers armed and cancelled by several threads while the watch fires: each ends once, none early.
#include <atomic>
#include <memory>
#include <thread>
#include <vector>

#include "../cpp/harness.hpp"
#include "tailrace/base/random.hpp"
#include "tailrace/sched/scheduler.hpp"

namespace {

using namespace tailrace;

struct Alarm final : sched::Timer {
  void fire() override {
    if (base::monotonic_ns() < deadline_ns) early.fetch_add(1);
    guts.reset();
    fired.store(true);  // last: it may die now
  }
  std::unique_ptr<int> guts;  // what a late fire would find gone
  std::atomic<bool> fired{false};
  static inline std::atomic<int> early{0};
};

TEST(timers_of_several_threads_fire_or_are_cancelled_and_never_early) {
  constexpr int kThreads = 3;
  const int rounds = 20'000 * static_cast<int>(test::stress_factor());
  sched::Scheduler scheduler{{.workers = 1}};
  Alarm::early = 0;
  std::atomic<int> cancelled{0}, fired{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      base::Random random{test::seed() + static_cast<std::uint64_t>(t)};
      std::vector<std::unique_ptr<Alarm>> alarms(64);
      const auto end = [&](std::unique_ptr<Alarm>& alarm) {
        if (scheduler.cancel(*alarm)) {
          ++cancelled;
          alarm->guts.reset();
        } else {
          while (!alarm->fired.load()) std::this_thread::yield();
          alarm->fired = false;
          ++fired;
        }
      };
      for (int i = 0; i < rounds; ++i) {
        auto& alarm = alarms[random.below(64)];
        if (alarm == nullptr) {
          alarm = std::make_unique<Alarm>();
        } else {
          end(alarm);
          if (random.below(8) == 0) alarm = std::make_unique<Alarm>();  // the old one dies, its entry stays behind
        }
        alarm->guts = std::make_unique<int>(i);
        // An hour ahead, or a moment ahead or ago, for some of which we wait.
        const std::int64_t span = random.below(8) == 0 ? 3'600'000'000'000 : random.below(1u << random.below(22));
        scheduler.arm(*alarm, base::monotonic_ns() + span - 1'000);
        while (i % 256 == 0 && span < 1'000'000 && !alarm->fired.load()) std::this_thread::yield();
      }
      for (auto& alarm : alarms) {
        if (alarm != nullptr) end(alarm);
      }
    });
  }
  for (auto& thread : threads) thread.join();
  CHECK_EQ(Alarm::early.load(), 0);
  CHECK(cancelled > 0 && fired > 0);
  CHECK_EQ(cancelled + fired, kThreads * rounds);
}

TEST(every_armed_timer_fires_though_all_threads_have_gone) {
  const int count = 5'000 * static_cast<int>(test::stress_factor());
  sched::Scheduler scheduler{{.workers = 1}};
  std::vector<std::unique_ptr<Alarm>> alarms;
  for (int i = 0; i < count; ++i) alarms.push_back(std::make_unique<Alarm>());
  std::vector<std::thread> threads;
  for (int t = 0; t < 2; ++t) {
    threads.emplace_back([&, t] {
      base::Random random{test::seed() + static_cast<std::uint64_t>(t)};
      for (int i = t; i < count; i += 2) {
        scheduler.arm(*alarms[static_cast<std::size_t>(i)], base::monotonic_ns() + random.below(2'000'000));
      }
    });
  }
  for (auto& thread : threads) thread.join();
  for (auto& alarm : alarms) {
    while (!alarm->fired.load()) std::this_thread::yield();
  }
}

}  // namespace
