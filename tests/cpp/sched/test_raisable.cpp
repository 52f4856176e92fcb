// test_raisable.cpp -- raising a queued native item: it overtakes, runs once, and each entry of it comes back.
#include <deque>
#include <vector>

#include "../harness.hpp"
#include "tailrace/base/random.hpp"
#include "tailrace/sched/raisable.hpp"
#include "tailrace/sched/scheduler.hpp"

namespace {

using namespace tailrace;
using sched::Priority;

struct Piece final : sched::RaisableItem {
  Piece(int n, Priority p, std::vector<int>* to) : number{n}, log{to} { priority = p; }
  void run_once(sched::Worker*) override {
    log->push_back(number);
    ++ran;
    --references;
  }
  void complete_once(base::Outcome) override {
    ++ended;
    --references;
  }
  void retain() override { ++references; }
  void drop() override { --references; }
  int number;
  std::vector<int>* log;
  int references = 1, ran = 0, ended = 0;
};

TEST(a_raised_item_overtakes_and_its_first_entry_is_dropped) {
  sched::Scheduler scheduler{{.workers = 1, .is_virtual = true}};
  std::vector<int> log;
  std::deque<Piece> pieces;
  for (int i = 0; i < 5; ++i) scheduler.push(&pieces.emplace_back(i, Priority::kLow, &log));
  CHECK(pieces[3].raise(scheduler, Priority::kNormal));
  CHECK(pieces[4].raise(scheduler, Priority::kNormal));
  CHECK(pieces[4].raise(scheduler, Priority::kHigh));
  CHECK(!pieces[4].raise(scheduler, Priority::kHigh));
  CHECK(!pieces[4].raise(scheduler, Priority::kNormal));
  CHECK(!pieces[0].raise(scheduler, Priority::kLow));
  while (scheduler.drive_once()) {
  }
  CHECK_EQ(log.size(), 5u);
  CHECK_EQ(log[0], 4);
  CHECK_EQ(log[1], 3);
  CHECK(!pieces[0].raise(scheduler, Priority::kHigh));  // it has run
  for (const Piece& piece : pieces) CHECK_EQ(piece.references, 0);
}

TEST(whatever_is_raised_runs_or_ends_once_and_every_entry_comes_back) {
  for (std::uint64_t seed = 1; seed <= 200; ++seed) {
    sched::Scheduler scheduler{{.workers = 2, .seed = seed, .is_virtual = true}};
    base::Random random{seed};
    std::vector<int> log;
    std::deque<Piece> pieces;
    for (int i = 0; i < 30; ++i) {
      scheduler.push(&pieces.emplace_back(i, static_cast<Priority>(random.below(3)), &log));
    }
    for (int i = 0; i < 60; ++i) {
      pieces[random.below(30)].raise(scheduler, static_cast<Priority>(random.below(3)));
      if (random.below(3) == 0) scheduler.drive_once();
    }
    scheduler.stop_begin();
    for (const Piece& piece : pieces) {
      CHECK_EQ(piece.ran + piece.ended, 1);
      CHECK_EQ(piece.references, 0);
    }
  }
}

}  // namespace
