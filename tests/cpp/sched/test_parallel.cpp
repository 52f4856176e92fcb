// test_parallel.cpp -- the loops: every index once, reductions as the serial one, exceptions, cancellation.
#include "tailrace/sched/parallel.hpp"

#include <atomic>
#include <numeric>
#include <stdexcept>
#include <string>
#include <vector>

#include "../harness.hpp"
#include "tailrace/base/random.hpp"

namespace {

using namespace tailrace;
using sched::Place;

void every_index_once(Place& place, std::size_t first, std::size_t last, std::size_t grain) {
  std::vector<std::atomic<int>> times(last + 1);
  sched::parallel_for(place, first, last, [&](std::size_t i) { ++times[i]; }, {.grain = grain});
  for (std::size_t i = 0; i <= last; ++i) {
    const int wanted = i >= first && i < last ? 1 : 0;
    if (times[i] != wanted) CHECK_EQ(times[i].load(), wanted);
  }
}

TEST(a_loop_of_any_shape_visits_every_index_exactly_once) {
  base::Random random{test::seed()};
  for (const auto with : {sched::With::kNobody, sched::With::kWorkers}) {
    sched::Scheduler scheduler{{.workers = 3}};
    sched::fork_join(
        scheduler,
        [&](Place& place) {
          for (const std::size_t n : {0u, 1u, 2u, 3u, 7u, 64u, 1'000u}) {
            for (const std::size_t grain : {0u, 1u, 2u, 5u, 64u, 5'000u}) every_index_once(place, 0, n, grain);
          }
          for (int round = 0; round < 200; ++round) {
            const std::size_t first = random.below(1'000);
            every_index_once(place, first, first + random.below(3'000), random.below(70));
          }
          every_index_once(place, 10, 5, 1);  // an empty range
        },
        with);
  }
}

TEST(fork_n_runs_each_of_its_bodies_at_a_place_and_they_may_fork_again) {
  sched::Scheduler scheduler{{.workers = 2}};
  std::atomic<int> ran{0};
  sched::fork_join(scheduler, [&](Place& place) {
    sched::fork_n(place, 20, [&](Place& here, std::size_t i) {
      sched::fork_n(here, i, [&](Place& there, std::size_t) { sched::fork2(there, [&] { ++ran; }, [&] { ++ran; }); });
    });
  });
  CHECK_EQ(ran.load(), 2 * 190);
}

// Joining strings is associative and not commutative: the order of the operands shows.
std::string joined(Place& place, std::size_t n, std::size_t grain) {
  return sched::parallel_reduce(
      place, 0, n, std::string{}, [](std::size_t i) { return std::to_string(i) + ","; },
      [](std::string a, const std::string& b) {
        a += b;
        return a;
      },
      {.grain = grain});
}

TEST(a_reduction_of_any_shape_keeps_the_order_of_its_operands) {
  base::Random random{test::seed() + 1};
  sched::Scheduler scheduler{{.workers = 3}};
  sched::fork_join(scheduler, [&](Place& place) {
    for (int round = 0; round < 150; ++round) {
      const std::size_t n = random.below(round < 20 ? 6 : 800);
      std::string serial;
      for (std::size_t i = 0; i < n; ++i) serial += std::to_string(i) + ",";
      const std::size_t grain = random.below(20);
      if (joined(place, n, grain) != serial) CHECK_EQ(n, grain);
    }
  });
}

TEST(a_reduction_of_nothing_is_the_identity) {
  sched::Scheduler scheduler{{.workers = 1}};
  sched::fork_join(scheduler, [](Place& place) { CHECK_EQ(joined(place, 0, 0), ""); });
}

TEST(the_first_exception_of_a_loop_leaves_it_and_the_rest_is_left_out) {
  for (const auto with : {sched::With::kNobody, sched::With::kWorkers}) {
    sched::Scheduler scheduler{{.workers = 2}};
    std::atomic<int> ran{0}, running{0};
    std::string what;
    try {
      sched::fork_join(
          scheduler,
          [&](Place& place) {
            sched::parallel_for(place, 0, 100'000,
                                [&](std::size_t i) {
                                  ++running;
                                  ++ran;
                                  --running;
                                  if (i == 50) throw std::runtime_error{"at 50"};
                                },
                                {.grain = 1});
          },
          with);
    } catch (const std::runtime_error& error) {
      what = error.what();
    }
    CHECK_EQ(what, "at 50");
    CHECK_EQ(running.load(), 0);
    CHECK(ran.load() >= 1);
    if (with == sched::With::kNobody) CHECK_EQ(ran.load(), 51);
  }
}

TEST(a_loop_whose_every_body_throws_throws_one_of_them) {
  sched::Scheduler scheduler{{.workers = 3}};
  for (int round = 0; round < 200; ++round) {
    CHECK_THROWS(std::runtime_error, sched::fork_join(scheduler, [&](Place& place) {
                   sched::parallel_for(place, 0, 500, [](std::size_t) { throw std::runtime_error{"no"}; },
                                       {.grain = 1});
                 }));
  }
}

TEST(a_cancelled_loop_leaves_out_what_has_not_begun) {
  sched::Scheduler scheduler{{.workers = 1}};
  sched::CancelSource source;
  int ran = 0;
  const auto alone = sched::With::kNobody;
  sched::fork_join(
      scheduler,
      [&](Place& place) {
        sched::parallel_for(place, 0, 100,
                            [&](std::size_t i) {
                              ++ran;
                              if (i == 9) source.cancel();
                            },
                            {.grain = 5, .token = sched::CancelToken{source}});
      },
      alone);
  CHECK_EQ(ran, 10);
  const int sum = sched::fork_join(
      scheduler,
      [&](Place& place) {
        return sched::parallel_reduce(
            place, 0, 100, 0, [](std::size_t) { return 1; }, [](int a, int b) { return a + b; },
            {.grain = 5, .token = sched::CancelToken{source}});
      },
      alone);
  CHECK_EQ(sum, 0);
}

}  // namespace
