// test_permit_lane.cpp -- lanes of width n: never more inside, fair to what waits elsewhere, bounded, ended once by a stop.
#include <algorithm>
#include <atomic>
#include <deque>
#include <functional>
#include <latch>
#include <string>
#include <vector>

#include "../harness.hpp"
#include "tailrace/sched/scheduler.hpp"

namespace {

using namespace tailrace;

struct Piece final : sched::Item {
  explicit Piece(std::function<void(sched::Worker*)> does) : body{std::move(does)} {}
  void run(sched::Worker* worker) override {
    ++ran;
    body(worker);
  }
  void complete(base::Outcome outcome) override {
    CHECK(outcome == base::Outcome::kCancelled);
    ++ended;
  }
  void drop() override { CHECK(false); }
  std::function<void(sched::Worker*)> body;
  std::atomic<int> ran{0}, ended{0};
};

TEST(no_more_items_than_the_gate_is_wide_are_inside_at_once_and_all_of_them_run) {
  sched::Scheduler scheduler{{.workers = 4, .spin_ns = 1'000}};
  sched::PermitLane& gate = scheduler.make_gate({.name = "licence", .width = 2, .slice_ns = 20'000});
  std::atomic<int> inside{0}, most{0};
  std::deque<Piece> pieces;
  std::latch done{2'000};
  for (int i = 0; i < 2'000; ++i) {
    pieces.emplace_back([&](sched::Worker*) {
      const int now = ++inside;
      if (now > most) most = now;
      for (int k = 0; k < 20; ++k) base::pause();
      --inside;
      done.count_down();
    });
    CHECK(gate.push(&pieces.back()));
  }
  done.wait();
  CHECK(most <= 2);
  for (const Piece& piece : pieces) CHECK_EQ(piece.ran.load(), 1);
}

// One worker; the first gate has much to do, the second little.
std::vector<int> order_of_two_gates(std::int64_t slice_ns) {
  sched::Scheduler scheduler{{.workers = 1}};
  sched::PermitLane& busy = scheduler.make_gate({.name = "busy", .slice_ns = slice_ns});
  sched::PermitLane& other = scheduler.make_gate({.name = "other", .slice_ns = slice_ns});
  std::vector<int> log;
  std::deque<Piece> pieces;
  std::latch begun{1}, go{1}, done{52};
  scheduler.submit([&](sched::Worker*) {
    begun.count_down();
    go.wait();
  });
  begun.wait();  // else the worker might begin with a gate before all is pushed
  for (int i = 0; i < 52; ++i) {
    pieces.emplace_back([&, i](sched::Worker*) {
      log.push_back(i < 50 ? 0 : 1);
      done.count_down();
    });
    CHECK((i < 50 ? busy : other).push(&pieces.back()));
  }
  go.count_down();
  done.wait();
  return log;
}

TEST(a_holder_goes_behind_the_waiters_when_its_slice_is_over) {
  const std::vector<int> by_turns = order_of_two_gates(0);
  CHECK(std::find(by_turns.begin(), by_turns.begin() + 4, 1) != by_turns.begin() + 4);
  const std::vector<int> drained = order_of_two_gates(3'600'000'000'000);
  CHECK((std::vector<int>{drained.begin(), drained.begin() + 50} == std::vector<int>(50, 0)));
}

TEST(a_gate_takes_no_more_than_its_bound_and_a_stop_ends_each_item_once) {
  for (std::uint64_t seed = 1; seed <= 30; ++seed) {
    sched::Scheduler scheduler{{.workers = 2, .seed = seed, .is_virtual = true}};
    sched::PermitLane& gate = scheduler.make_gate({.width = 1, .max_waiting = 3});
    std::deque<Piece> pieces;
    int refused = 0;
    for (int i = 0; i < 6; ++i) {
      pieces.emplace_back([](sched::Worker*) {});
      if (!gate.push(&pieces.back())) ++refused;
    }
    CHECK_EQ(refused, 2);  // one is inside, three wait
    CHECK(gate.statistics().waiting == 3);
    CHECK(gate.statistics().inside == 1);
    CHECK(gate.statistics().refused == 2);
    CHECK(scheduler.drive_once());
    scheduler.stop_begin();
    int ran = 0, ended = 0;
    for (const Piece& piece : pieces) ran += piece.ran, ended += piece.ended;
    CHECK_EQ(ran, 1);
    CHECK_EQ(ended, 3);
    Piece late{[](sched::Worker*) {}};
    CHECK(gate.push(&late));
    CHECK_EQ(late.ended.load(), 1);
    CHECK(gate.statistics().waiting == 0);
    CHECK(gate.statistics().inside == 0);
  }
}

TEST(a_gate_without_width_is_refused_by_name) {
  sched::Scheduler scheduler{{.workers = 1, .is_virtual = true}};
  CHECK_THROWS(std::invalid_argument, scheduler.make_gate({.width = 0}));
  CHECK_THROWS(std::invalid_argument, scheduler.make_gate({.width = sched::kMaxGateWidth + 1}));
  CHECK_THROWS(std::invalid_argument, scheduler.make_gate({.slice_ns = -1}));
  CHECK_THROWS(std::invalid_argument, scheduler.make_gate({.max_waiting = -1}));
  try {
    scheduler.make_gate({.name = "gpu", .width = 0});
  } catch (const std::invalid_argument& error) {
    CHECK_EQ(std::string{error.what()}, std::string{"tailrace: gate 'gpu' needs a width of 1 to 1024, got 0"});
  }
}

}  // namespace
