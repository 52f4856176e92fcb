// test_base.cpp -- clock, random, outcome.
#include <sys/prctl.h>

#include <string>
#include <thread>
#include <vector>

#include "../harness.hpp"
#include "tailrace/base/block_source.hpp"
#include "tailrace/base/clock.hpp"
#include "tailrace/base/futex.hpp"
#include "tailrace/base/outcome.hpp"
#include "tailrace/base/random.hpp"

namespace {

using namespace tailrace::base;

TEST(the_real_clock_never_goes_back) {
  std::int64_t before = RealClock::instance().now_ns();
  for (int i = 0; i < 10'000; ++i) {
    const std::int64_t now = RealClock::instance().now_ns();
    CHECK(now >= before);
    before = now;
  }
  CHECK(!RealClock::instance().is_virtual());
}

TEST(the_virtual_clock_moves_only_when_told_to_and_never_back) {
  VirtualClock clock;
  CHECK_EQ(clock.now_ns(), 0);
  clock.advance_to(500);
  clock.advance_to(300);
  CHECK_EQ(clock.now_ns(), 500);
  CHECK(clock.is_virtual());
}

TEST(one_seed_gives_one_sequence_and_another_gives_another) {
  Random a{7}, b{7}, c{8};
  int equal = 0;
  for (int i = 0; i < 1'000; ++i) {
    const std::uint64_t x = a.next();
    CHECK_EQ(x, b.next());
    equal += x == c.next() ? 1 : 0;
  }
  CHECK_EQ(equal, 0);
}

TEST(random_numbers_below_a_bound_reach_all_of_them_about_equally) {
  Random random{tailrace::test::seed()};
  std::vector<int> counts(10, 0);
  for (int i = 0; i < 100'000; ++i) ++counts.at(random.below(10));
  for (const int n : counts) CHECK(n > 9'500 && n < 10'500);  // 5 standard deviations
  CHECK_EQ(random.below(1), 0u);
}

TEST(every_outcome_has_the_name_that_metrics_use) {
  CHECK_EQ(std::string{name(Outcome::kPending)}, "pending");
  CHECK_EQ(std::string{name(Outcome::kOk)}, "ok");
  CHECK_EQ(std::string{name(Outcome::kFailed)}, "failed");
  CHECK_EQ(std::string{name(Outcome::kCancelled)}, "cancelled");
  CHECK_EQ(std::string{name(Outcome::kRejected)}, "rejected");
  CHECK_EQ(std::string{name(Outcome::kTimedOut)}, "timed_out");
}

TEST(a_block_of_the_heap_starts_at_a_cache_line) {
  void* block = HeapBlocks::instance().take(100);
  CHECK_EQ(reinterpret_cast<std::uintptr_t>(block) % kCacheLine, 0u);
  HeapBlocks::instance().give(block, 100);
}

TEST(a_thread_that_sleeps_on_time_has_no_slack_and_others_keep_theirs) {
  const int mine = prctl(PR_GET_TIMERSLACK);
  int its = 0;
  std::thread{[&its] {
    sleep_on_time();
    its = prctl(PR_GET_TIMERSLACK);
  }}.join();
  CHECK_EQ(its, 1);
  CHECK_EQ(prctl(PR_GET_TIMERSLACK), mine);
}

}  // namespace
