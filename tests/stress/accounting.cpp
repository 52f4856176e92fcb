// accounting.cpp -- tasks through every lane at once, with failures, cancels, deadlines and stops: accounted exactly.
//
// A tenth of a million by default; TAILRACE_STRESS=100 makes it the ten millions of the proof.
#include <deque>
#include <iostream>
#include <thread>
#include <vector>

#include "ledger.hpp"
#include "tailrace/base/random.hpp"
#include "tailrace/sched/task_group.hpp"

namespace {

using namespace tailrace;
using test::Ledger;
using test::Outcome;

constexpr int kEach = 3'600;  // tasks of one producer in one round
constexpr int kProducers = 4;
constexpr int kRounds = 10;

struct Started {
  test::UnitRequest* request;
  flow::RunHandle run;
};

// One thread's tasks. What it made must outlive the scheduler's work on it, so the round keeps the producers.
class Producer {
 public:
  Producer(sched::Scheduler& scheduler, flow::Runner& runner, flow::Runner& narrow, sched::PermitLane& gate,
           Ledger& ledger, std::uint64_t seed)
      : scheduler_{scheduler}, runners_{&runner, &narrow}, gate_{gate}, ledger_{ledger}, random_{seed} {}

  void produce() {
    for (int i = 0; i < kEach; ++i) {
      switch (random_.below(13)) {
        case 0:
          submit_closure();
          break;
        case 1:
          scheduler_.push(&item(false));
          break;
        case 2:
          push_to_one();
          break;
        case 3:
          scheduler_.push_gated(&item(true));
          break;
        case 4:
          scheduler_.push_blocking(&item(false));
          break;
        case 5:
          start_run();
          break;
        case 6:
          run_here();
          break;
        case 7:
          arm_timer();
          break;
        case 8:
          fork();
          break;
        case 9:
          push_deadline();
          break;
        case 10:
          push_through_gate();
          break;
        default:
          cancel_something();
          break;
      }
    }
  }
  // When nothing runs any more.
  void finish() {
    started_.clear();
    for (test::UnitTimer& timer : timers_) {
      if (!timer.ended() && scheduler_.cancel(timer)) timer.end(Outcome::kCancelled);
    }
    for (const test::UnitRequest& request : requests_) {
      if (request.fires.load() != 1) ++unfired_;
    }
  }
  int unfired() const { return unfired_; }

 private:
  test::UnitItem& item(bool gated) {
    test::UnitItem& made = items_.emplace_back();
    made.begin(ledger_);
    made.gated = gated;
    made.open = random_.below(3) == 0;
    made.fails = random_.below(10) == 0;
    made.pauses = random_.below(200) == 0 ? 500 : 0;
    made.priority = static_cast<sched::Priority>(random_.below(sched::kPriorities));
    if (random_.below(4) == 0) {  // a deadline that has passed, that passes soon, or that does not
      const std::int64_t in[] = {-1, 20'000, 1'000'000'000};
      test::set_deadline(made, scheduler_.clock().now_ns() + in[random_.below(3)]);
    }
    return made;
  }
  void submit_closure() {
    test::Unit& unit = units_.emplace_back();
    unit.begin(ledger_);
    const bool fails = random_.below(10) == 0;
    scheduler_.submit([&unit, fails](sched::Worker*) { unit.end(fails ? Outcome::kFailed : Outcome::kOk); });
  }
  void push_to_one() {
    const int worker = static_cast<int>(random_.below(static_cast<std::uint32_t>(scheduler_.worker_count())));
    scheduler_.push_to(worker, &item(false));
  }
  void push_deadline() {
    const std::int64_t in[] = {-1, 20'000, 1'000'000'000};
    scheduler_.push_deadline(&item(false), scheduler_.clock().now_ns() + in[random_.below(3)]);
  }
  void push_through_gate() {
    test::UnitItem& made = item(false);
    if (!gate_.push(&made)) made.end(Outcome::kRejected);
  }
  test::UnitRequest& request() {
    test::UnitRequest& made = requests_.emplace_back();
    made.begin(ledger_);
    if (random_.below(8) == 0) made.throws = static_cast<int>(random_.below(4));
    made.pauses = random_.below(100) == 0 ? 500 : 0;
    return made;
  }
  flow::RunOptions options() {
    const double deadlines[] = {0, 1e-6, 50e-6, 1e9};
    return {.deadline_s = deadlines[random_.below(4)],
            .on_settled = &test::UnitRequest::settled,
            .on_fired = &test::UnitRequest::fired};
  }
  void start_run() {
    test::UnitRequest& made = request();
    flow::RunHandle run = runners_[random_.below(2)]->start(made, options());
    if (run.outcome() == Outcome::kRejected) return rejected(made);
    if (random_.below(3) == 0) return;  // nobody holds it
    started_.push_back(std::move(run));
    if (started_.size() > 32) started_.erase(started_.begin());
  }
  void run_here() {
    test::UnitRequest& made = request();
    if (runners_[random_.below(2)]->run(made, options()) == Outcome::kRejected) rejected(made);
  }
  static void rejected(test::UnitRequest& made) {
    made.end(Outcome::kRejected);
    test::UnitRequest::fired(&made);  // a rejected run never fires; so that `finish` finds one for all
  }
  // A group of tasks, some of which throw, which is cancelled in the middle now and then. The caller works too.
  void fork() {
    std::array<test::Unit, 8> units;
    for (test::Unit& unit : units) unit.begin(ledger_);
    const std::uint32_t throws = random_.below(32), cancels = random_.below(32);
    sched::fork_join(scheduler_, [&](sched::Place& place) {
      sched::TaskGroup group{place};
      for (std::uint32_t i = 0; i < units.size(); ++i) {
        group.spawn(place, [&, i] {
          units[i].end(i == throws ? Outcome::kFailed : Outcome::kOk);
          if (i == cancels) group.cancel();
          if (i == throws) throw std::runtime_error{"as the seed has it"};
        });
      }
      try {
        group.wait();
      } catch (const std::runtime_error&) {
      }
    });
    for (test::Unit& unit : units) {  // left out, as the group was cancelled
      if (!unit.ended()) unit.end(Outcome::kCancelled);
    }
  }
  void arm_timer() {
    test::UnitTimer& timer = timers_.emplace_back();
    timer.begin(ledger_);
    const std::int64_t in[] = {0, 1'000, 300'000, 3'600'000'000'000};
    scheduler_.arm(timer, scheduler_.clock().now_ns() + in[random_.below(4)]);
  }
  void cancel_something() {
    if (!started_.empty()) started_[random_.below(static_cast<std::uint32_t>(started_.size()))].cancel();
    if (timers_.empty()) return;
    test::UnitTimer& timer = timers_[random_.below(static_cast<std::uint32_t>(timers_.size()))];
    if (scheduler_.cancel(timer)) timer.end(Outcome::kCancelled);
  }

  sched::Scheduler& scheduler_;
  std::array<flow::Runner*, 2> runners_;
  sched::PermitLane& gate_;
  Ledger& ledger_;
  base::Random random_;
  std::deque<test::Unit> units_;
  std::deque<test::UnitItem> items_;
  std::deque<test::UnitRequest> requests_;
  std::deque<test::UnitTimer> timers_;
  std::vector<flow::RunHandle> started_;
  int unfired_ = 0;
};

// One scheduler's life: producers, then a stop: in every other round in the middle of what they do.
void play(std::uint64_t seed, bool stops, Ledger& ledger) {
  const flow::Plan plan = test::UnitRequest::plan();
  base::Random random{seed};
  std::deque<Producer> producers;
  {
    sched::Scheduler scheduler{{.workers = 1 + static_cast<int>(random.below(3)),
                                .max_blocking = 4,
                                .spin_ns = random.below(2) == 0 ? 0 : 5'000}};
    flow::Runner runner{plan, scheduler}, narrow{plan, scheduler, {.max_in_flight = 3}};
    const int width = 1 + static_cast<int>(random.below(3));
    sched::PermitLane& gate = scheduler.make_gate({.width = width, .slice_ns = 20'000, .max_waiting = 200});
    for (std::uint64_t p = 0; p < kProducers; ++p) {
      producers.emplace_back(scheduler, runner, narrow, gate, ledger, seed * 101 + p);
    }
    std::vector<std::thread> threads;
    for (Producer& producer : producers) threads.emplace_back([&producer] { producer.produce(); });
    if (stops) {
      for (std::uint32_t turns = random.below(4'000); turns > 0; --turns) std::this_thread::yield();
      scheduler.stop_begin(random.below(2) == 0);
    }
    for (std::thread& thread : threads) thread.join();
    if (!stops) {
      scheduler.drain();
      scheduler.stop_begin(random.below(2) == 0);
    }
    CHECK(scheduler.stop_wait(base::kNever));
    for (Producer& producer : producers) producer.finish();
    for (const flow::Runner* one : {&runner, &narrow}) {
      const flow::RunnerStatistics s = one->statistics();
      CHECK_EQ(s.submitted, s.ok + s.failed + s.cancelled + s.rejected + s.timed_out);
      CHECK_EQ(s.in_flight, 0u);
    }
  }
  for (const Producer& producer : producers) CHECK_EQ(producer.unfired(), 0);
  if (ledger.submitted() != ledger.ended()) std::cerr << "  lost in the round of seed " << seed << std::endl;
}

TEST(tasks_through_every_lane_with_failures_cancels_deadlines_and_stops_are_accounted_exactly) {
  Ledger ledger;
  const auto rounds = kRounds * test::stress_factor();
  for (std::uint64_t round = 0; round < rounds; ++round) play(test::seed() + round, round % 2 == 1, ledger);
  std::cout << "  " << ledger.text() << std::endl;
  CHECK_EQ(ledger.submitted(), ledger.ended());
  for (const Outcome how :
       {Outcome::kOk, Outcome::kFailed, Outcome::kCancelled, Outcome::kRejected, Outcome::kTimedOut}) {
    CHECK(ledger.of(how) > 0);  // or the round does not try what it says
  }
}

}  // namespace
