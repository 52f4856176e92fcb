// test_thread_clock.cpp -- a thread's own time goes on while it computes, and stands while it waits.
#include <latch>
#include <thread>

#include "../harness.hpp"
#include "tailrace/base/thread_clock.hpp"

namespace {

using namespace tailrace;

TEST(the_clock_of_a_thread_goes_on_while_it_computes_and_hardly_while_it_waits) {
  base::ThreadClock clock;
  std::latch made{1}, go{1}, computed{1}, end{1};
  std::thread other{[&] {
    clock = base::ThreadClock::of_this_thread();
    made.count_down();
    go.wait();
    const std::int64_t began = clock.now_ns();
    while (clock.now_ns() >= 0 && clock.now_ns() - began < 2'000'000) {
    }
    computed.count_down();
    end.wait();
  }};
  made.wait();
  const std::int64_t before = clock.now_ns();
  go.count_down();
  computed.wait();
  const std::int64_t after = clock.now_ns();
  CHECK(after < 0 || after - before >= 2'000'000);
  end.count_down();
  other.join();
}

}  // namespace
