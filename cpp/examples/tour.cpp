// tour.cpp -- what docs/embedding.md says, one function for each section, checked as it runs.
#include <atomic>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <functional>
#include <memory_resource>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "tailrace/tailrace.hpp"

namespace {

using tailrace::Outcome;

void require(bool right, const char* what) {
  if (right) return;
  std::fprintf(stderr, "not as documented: %s\n", what);
  std::exit(1);
}

template <class Error, class Call>
void require_throws(Call call, const char* what) {
  try {
    call();
  } catch (const Error&) {
    return;
  }
  require(false, what);
}

void closures() {
  tailrace::Scheduler scheduler{{.workers = 2}};
  std::atomic<int> sum{0};
  for (int i = 1; i <= 100; ++i) {
    scheduler.submit([&sum, i](tailrace::Worker*) { sum.fetch_add(i); });
  }
  scheduler.drain();
  require(sum == 5050, "drain waits until every closure submitted before has run");
}

void steps() {
  struct Request {
    void parse() {}
    void score(tailrace::RunState& run) {
      for (int part = 0; part < 1000 && run.ending.is_open(); ++part) scored = part + 1;
    }
    int scored = 0;
  };
  int runs = 0;
  auto count = [&runs] { ++runs; };  // lives as long as the plan

  tailrace::PlanBuilder builder;
  const auto parse = builder.add<&Request::parse>();
  const auto score = builder.add<&Request::score>();
  const auto counted = builder.add(count);
  builder.edge(parse, score);
  builder.edge(score, counted);
  const tailrace::Plan plan = builder.compile();

  tailrace::Scheduler scheduler{{.workers = 1}};
  tailrace::Runner runner{plan, scheduler};
  Request request;
  require(runner.run(request) == Outcome::kOk && request.scored == 1000 && runs == 1, "a run does every step once");
  std::string another = "type of request";
  require_throws<std::invalid_argument>([&] { runner.run(another); }, "another type of request is refused");
  require_throws<std::invalid_argument>([&] { runner.run(); }, "a missing request is refused");
}

void graphs_that_cannot_be() {
  auto nothing = [] {};
  tailrace::PlanBuilder builder;
  require_throws<std::invalid_argument>([&] { builder.compile(); }, "a plan needs a node");
  const auto a = builder.add(nothing), b = builder.add(nothing);
  require_throws<std::out_of_range>([&] { builder.edge(a, 7); }, "an edge names nodes that there are");
  builder.edge(a, b);
  builder.edge(b, a);
  try {
    builder.compile();
    require(false, "a cycle is found");
  } catch (const tailrace::CycleError& error) {
    require(error.nodes() == std::vector<tailrace::NodeIndex>({a, b}) ||
                error.nodes() == std::vector<tailrace::NodeIndex>({b, a}),
            "a cycle is named by its nodes, in order");
  }
}

// A step that ends when its run does.
struct Patient {
  void wait(tailrace::RunState& run) {
    began = true;
    while (!go_on && run.ending.is_open()) std::this_thread::yield();
    if (fails) throw std::runtime_error{"no stock"};
  }
  void after() { after_ran = true; }
  std::atomic<bool> began{false}, go_on{false};
  bool fails = false, after_ran = false;
};

tailrace::Plan patient_plan() {
  tailrace::PlanBuilder builder;
  const auto wait = builder.add<&Patient::wait>();
  builder.edge(wait, builder.add<&Patient::after>());
  return builder.compile();
}

void started_runs() {
  const tailrace::Plan plan = patient_plan();
  tailrace::Scheduler scheduler{{.workers = 1}};
  tailrace::Runner runner{plan, scheduler};
  Patient request;
  tailrace::Run run = runner.start(request);
  while (!request.began) std::this_thread::yield();
  require(run.outcome() == Outcome::kPending, "a run is pending until it is settled");
  require(run.wait_for(0.001) == Outcome::kPending, "when the time is up the run goes on");
  require(run.cancel() && !run.cancel(), "an outcome is fixed once");
  require(run.wait_fired() == Outcome::kCancelled && !request.after_ran, "a cancelled run starts no further step");
}

void deadlines() {
  const tailrace::Plan plan = patient_plan();
  tailrace::Scheduler scheduler{{.workers = 1}};
  tailrace::Runner runner{plan, scheduler};
  Patient request;
  tailrace::Run run = runner.start(request, {.deadline_s = 0.002});
  require(run.wait_fired() == Outcome::kTimedOut && !request.after_ran, "a late run starts no further step");
  Patient second;
  require(runner.run(second, {.deadline_s = 0}) == Outcome::kTimedOut && !second.began, "no time, no step");
  require_throws<std::invalid_argument>([&] { runner.run(second, {.deadline_s = -1}); }, "a deadline is at least 0");
}

void refusals() {
  const tailrace::Plan plan = patient_plan();
  tailrace::Scheduler scheduler{{.workers = 1}};
  tailrace::Runner runner{plan, scheduler, {.max_in_flight = 1}};
  Patient first, second;
  tailrace::Run run = runner.start(first);
  require(runner.run(second) == Outcome::kRejected && !second.began, "a full runner rejects at once, and runs nothing");
  run.cancel();
  require(run.wait_fired() == Outcome::kCancelled, "the first one ends");
}

void failures() {
  const tailrace::Plan plan = patient_plan();
  tailrace::Scheduler scheduler{{.workers = 1}};
  tailrace::Runner runner{plan, scheduler};
  Patient request;
  request.go_on = request.fails = true;

  std::exception_ptr thrown;
  if (runner.run(request, {.error = &thrown}) == Outcome::kFailed) {
    require_throws<std::runtime_error>([&] { std::rethrow_exception(thrown); }, "what the step threw");
  }
  tailrace::Run run = runner.start(request);
  require(run.wait() == Outcome::kFailed && run.error() != nullptr, "a handle has the error too");

  const tailrace::RunnerStatistics s = runner.statistics();
  require(s.submitted == s.ok + s.failed + s.cancelled + s.rejected + s.timed_out + s.in_flight, "the ledger is exact");
  require(s.failed == 2 && s.in_flight == 0, "both are counted");
}

// Work that sleeps or reads a socket, on a thread of the blocking lane.
class Lookup final : public tailrace::Item {
 public:
  void run(tailrace::Worker*) override { ended = 1; }
  void complete(Outcome) override { ended = 2; }  // the scheduler stopped before it began
  void drop() override {}
  std::atomic<int> ended{0};
};

void blocking_work() {
  tailrace::Scheduler scheduler{{.workers = 1, .max_blocking = 64}};
  Lookup lookup;
  scheduler.push_blocking(&lookup);
  while (lookup.ended == 0) std::this_thread::yield();
  require(lookup.ended == 1, "a blocking item runs on a thread of its own lane");
  scheduler.stop_begin();
  Lookup late;
  scheduler.push_blocking(&late);
  require(late.ended == 2, "an item that comes after stop is completed as cancelled");
}

class Errand final : public tailrace::Item {
 public:
  void run(tailrace::Worker*) override { how = Outcome::kOk; }
  void complete(Outcome outcome) override { how = outcome; }  // came too late, or the scheduler stopped
  void drop() override {}
  Outcome how = Outcome::kPending;
};

void items_with_deadlines() {
  tailrace::Scheduler scheduler{{.workers = 1, .is_virtual = true}};
  Errand later, soon, late;
  scheduler.push_deadline_in(&later, 0.050);
  scheduler.push_deadline_in(&soon, 0.020);
  scheduler.drive_once();
  require(soon.how == Outcome::kOk && later.how == Outcome::kPending, "the earliest deadline goes first");
  scheduler.push_deadline_in(&late, 0.001);
  scheduler.virtual_clock().advance_to(scheduler.clock().now_ns() + 2'000'000);
  while (scheduler.drive_once()) {
  }
  require(late.how == Outcome::kTimedOut && later.how == Outcome::kOk, "what comes too late is not run");
  require(scheduler.lane_depths().late == 1, "and is counted");
}

void gates() {
  tailrace::Scheduler scheduler{{.workers = 4, .is_virtual = true}};
  tailrace::PermitLane& licence = scheduler.make_gate({.name = "licence", .width = 2, .max_waiting = 1});
  Errand first, second, third, fourth;
  require(licence.push(&first) && licence.push(&second) && licence.push(&third), "two inside, one waits");
  require(!licence.push(&fourth), "the item that is refused stays the caller's");
  const tailrace::GateStatistics s = licence.statistics();
  require(s.inside == 2 && s.waiting == 1 && s.refused == 1, "that is counted");
  while (scheduler.drive_once()) {
  }
  require(third.how == Outcome::kOk && fourth.how == Outcome::kPending, "who waited comes in");
  require_throws<std::invalid_argument>([&] { scheduler.make_gate({.width = 0}); }, "a gate lets in one at least");
}

// Each push and each raise that returns true comes back once: as run_once, complete_once or drop.
class Report final : public tailrace::RaisableItem {
 public:
  void run_once(tailrace::Worker*) override { done = true, --entries; }
  void complete_once(Outcome) override { --entries; }
  void drop() override { --entries; }
  void retain() override { ++entries; }
  std::atomic<int> entries{1};  // at 0 nobody has it any more
  bool done = false;
};

void raised_items() {
  tailrace::Scheduler scheduler{{.workers = 1, .is_virtual = true}};
  Errand before;
  Report report;
  report.priority = tailrace::Priority::kLow;
  scheduler.push(&before);
  scheduler.push(&report);
  require(report.raise(scheduler, tailrace::Priority::kHigh), "it is queued, and of lower priority");
  scheduler.drive_once();
  require(report.done && before.how == Outcome::kPending, "a raised item overtakes");
  while (scheduler.drive_once()) {
  }
  require(report.entries == 0 && !report.raise(scheduler, tailrace::Priority::kHigh), "what has run is not raised");
}

// Called once, at or after its time, on the timers' thread: it must not wait.
class Alarm final : public tailrace::Timer {
 public:
  void fire() override { rang = true; }
  std::atomic<bool> rang{false};
};

void timers() {
  tailrace::Scheduler scheduler{{.workers = 1}};
  Alarm soon, never;
  scheduler.arm(soon, scheduler.clock().now_ns() + 1'000'000);
  scheduler.arm(never, scheduler.clock().now_ns() + 3'600'000'000'000);
  require(scheduler.cancel(never), "a timer that has not fired can be cancelled");
  while (!soon.rang) std::this_thread::yield();
  require(!never.rang && !scheduler.cancel(soon), "one that has fired cannot");
}

void memory() {
  tailrace::MemoryPool pool{{.limit_bytes = 256 << 20}};
  void* frame = pool.allocate(4 << 20);                        // throws tailrace::PoolExhausted, a std::bad_alloc
  pool.deallocate(frame);                                      // from any thread
  std::pmr::vector<float> row{pool.resource()};                // the standard's interface
  const tailrace::PoolStatistics now = pool.statistics();      // used, cached, retained, committed, hit_ratio ...
  row.resize(1000);
  require(now.used_bytes == 0 && pool.statistics().used_bytes >= 4000, "a pool counts what is used");
}

void stopping() {
  const tailrace::Plan plan = patient_plan();
  tailrace::Scheduler scheduler{{.workers = 1}};
  tailrace::Runner runner{plan, scheduler};
  Patient request;
  request.go_on = true;
  tailrace::Run run = runner.start(request);

  scheduler.drain();                        // what was started has ended
  scheduler.stop_begin();                   // no new work from here on
  scheduler.stop_wait(tailrace::kNever);    // every thread has ended
  require(run.outcome() == Outcome::kOk && request.after_ran, "drain waits for started runs");
  require(runner.run(request) == Outcome::kRejected, "after stop a run is rejected");
}

void virtual_time() {
  const tailrace::Plan plan = patient_plan();
  tailrace::Scheduler scheduler{{.workers = 4, .seed = 7, .is_virtual = true}};
  tailrace::Runner runner{plan, scheduler};
  Patient request;
  request.go_on = true;
  tailrace::Run run = runner.start(request, {.deadline_s = 3600});
  require(run.wait_fired() == Outcome::kOk, "whoever waits drives the virtual scheduler");
  Patient late;
  tailrace::Run second = runner.start(late, {.deadline_s = 3600});
  scheduler.virtual_clock().advance_to(scheduler.clock().now_ns() + 3'600'000'000'000);
  require(second.wait_fired() == Outcome::kTimedOut && !late.began, "an hour passes at once");
}

void options_out_of_range() {
  require_throws<std::invalid_argument>([] { tailrace::Scheduler none{{.workers = 0}}; }, "at least one worker");
  require_throws<std::invalid_argument>([] { tailrace::Scheduler many{{.workers = 1'000'000}}; }, "at most the limit");
}

long fib(tailrace::Place& place, int n) {
  if (n < 20) return n < 2 ? n : fib(place, n - 1) + fib(place, n - 2);
  long a = 0, b = 0;
  tailrace::fork2(
      place, [&](tailrace::Place& here) { a = fib(here, n - 1); },
      [&](tailrace::Place& here) { b = fib(here, n - 2); });
  return a + b;
}

void fork_join() {
  tailrace::Scheduler scheduler{{.workers = 2}};
  require(tailrace::fork_join(scheduler, [](tailrace::Place& place) { return fib(place, 25); }) == 75'025, "fib");
  std::vector<int> squares(1000);
  const long sum = tailrace::fork_join(scheduler, [&](tailrace::Place& place) {
    tailrace::parallel_for(place, 0, squares.size(), [&](std::size_t i) { squares[i] = static_cast<int>(i * i); });
    const auto square = [&](std::size_t i) { return static_cast<long>(squares[i]); };
    return tailrace::parallel_reduce(place, 0, squares.size(), 0L, square, std::plus<>{});
  });
  require(sum == 332'833'500, "the sum of the squares");

  tailrace::fork_join(scheduler, [](tailrace::Place& place) {
    std::atomic<int> ran{0};
    tailrace::TaskGroup group{place};
    for (int i = 0; i < 10; ++i) {
      group.spawn([&ran](tailrace::Place&) { ++ran; });
    }
    group.wait();
    require(ran == 10, "the group waits for all");
    bool told = false;
    group.on_cancel([&told] { told = true; });
    group.cancel();
    group.spawn([&ran] { ++ran; });
    group.wait();
    require(told && ran == 10, "what has not begun is left out");
  });
}

}  // namespace

int main() {
  closures();
  fork_join();
  steps();
  graphs_that_cannot_be();
  started_runs();
  deadlines();
  refusals();
  failures();
  blocking_work();
  items_with_deadlines();
  gates();
  raised_items();
  timers();
  memory();
  stopping();
  virtual_time();
  options_out_of_range();
  std::puts("as documented");
}
