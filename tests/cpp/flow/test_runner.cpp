// test_runner.cpp -- a request through a plan: started, waited for, refused, late, cancelled, failed; and counted.
#include <atomic>
#include <deque>
#include <latch>
#include <new>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "../harness.hpp"
#include "tailrace/flow/runner.hpp"

namespace {

using namespace tailrace;
using base::Outcome;

struct Request {
  void parse() { text += "parse "; }
  void left() { lefts.fetch_add(1); }
  void right() { rights.fetch_add(1); }
  void reply() { text += "reply"; }
  std::string text;
  std::atomic<int> lefts{0}, rights{0};
};

flow::Plan diamond() {
  flow::PlanBuilder builder;
  const auto a = builder.add<&Request::parse>(), b = builder.add<&Request::left>();
  const auto c = builder.add<&Request::right>(), d = builder.add<&Request::reply>();
  builder.edge(a, b);
  builder.edge(a, c);
  builder.edge(b, d);
  builder.edge(c, d);
  return builder.compile();
}

void balanced(const flow::RunnerStatistics& s) {
  CHECK_EQ(s.submitted, s.ok + s.failed + s.cancelled + s.rejected + s.timed_out + s.in_flight);
}

// A step that waits until it is told to go on, or until its run is settled by somebody else.
struct Held {
  void hold(flow::Run& run) {
    entered.count_down();
    while (!go_on.load() && run.ending.is_open()) std::this_thread::yield();
    if (throws) throw std::runtime_error{"as it was told to"};
  }
  void after() { after_ran = true; }
  std::latch entered{1};
  std::atomic<bool> go_on{false};
  bool throws = false, after_ran = false;
  std::atomic<int> settled{0}, fired{0};
  std::atomic<Outcome> outcome{Outcome::kPending};
};

flow::Plan hold_then_after() {
  flow::PlanBuilder builder;
  const auto hold = builder.add<&Held::hold>();
  builder.edge(hold, builder.add<&Held::after>());
  return builder.compile();
}

flow::RunOptions notes(double deadline_s = 1e9) {
  return {.deadline_s = deadline_s,
          .on_settled =
              [](void* request, Outcome how) {
                static_cast<Held*>(request)->outcome = how;
                static_cast<Held*>(request)->settled.fetch_add(1);
              },
          .on_fired = [](void* request) { static_cast<Held*>(request)->fired.fetch_add(1); }};
}

TEST(each_run_works_on_its_own_request) {
  const flow::Plan plan = diamond();
  sched::Scheduler scheduler{{.workers = 2}};
  flow::Runner runner{plan, scheduler};
  std::deque<Request> requests(200);
  std::vector<std::thread> callers;
  for (std::size_t c = 0; c < 2; ++c) {
    callers.emplace_back([&, c] {
      for (std::size_t i = c; i < requests.size(); i += 2) CHECK(runner.run(requests[i]) == Outcome::kOk);
    });
  }
  for (auto& caller : callers) caller.join();
  for (const Request& request : requests) {
    CHECK_EQ(request.text, "parse reply");
    CHECK_EQ(request.lefts.load() + request.rights.load(), 2);
  }
  CHECK_EQ(runner.statistics().ok, 200u);
  balanced(runner.statistics());
}

// Has no memory for its first `left` blocks.
struct Scarce final : base::BlockSource {
  void* take(std::size_t bytes) override {
    if (left-- > 0) throw std::bad_alloc{};
    ++given;
    return base::HeapBlocks::instance().take(bytes);
  }
  void give(void* block, std::size_t bytes) noexcept override {
    --given;
    base::HeapBlocks::instance().give(block, bytes);
  }
  int left = 3, given = 0;
};

TEST(a_run_for_which_there_is_no_memory_leaves_the_runner_as_it_was) {
  const flow::Plan plan = diamond();
  Scarce source;
  {
    sched::Scheduler scheduler{{.workers = 1}};
    flow::Runner runner{plan, scheduler, {.max_in_flight = 1, .source = &source}};
    Request request;
    CHECK_THROWS(std::bad_alloc, runner.run(request));
    CHECK_THROWS(std::bad_alloc, runner.start(request));
    CHECK_THROWS(std::bad_alloc, runner.run(request));
    CHECK(runner.run(request) == Outcome::kOk);
    CHECK_EQ(runner.statistics().submitted, 1u);
    balanced(runner.statistics());
  }
  CHECK_EQ(source.given, 0);
}

TEST(a_request_of_another_type_and_a_missing_one_are_refused) {
  const flow::Plan plan = diamond();
  sched::Scheduler scheduler{{.workers = 1}};
  flow::Runner runner{plan, scheduler};
  Held other;
  CHECK_THROWS(std::invalid_argument, runner.run(other));
  CHECK_THROWS(std::invalid_argument, runner.start(other));
  CHECK_THROWS(std::invalid_argument, runner.run());
  flow::PlanBuilder builder;
  builder.add<&Request::parse>();
  CHECK_THROWS(std::invalid_argument, builder.add<&Held::after>());
  CHECK_EQ(runner.statistics().submitted, 0u);
}

TEST(a_negative_deadline_and_one_that_is_no_number_are_refused_and_one_of_centuries_is_none) {
  const flow::Plan plan = diamond();
  sched::Scheduler scheduler{{.workers = 1}};
  flow::Runner runner{plan, scheduler};
  Request request;
  CHECK_THROWS(std::invalid_argument, runner.run(request, {.deadline_s = -1e-9}));
  CHECK_THROWS(std::invalid_argument, runner.run(request, {.deadline_s = std::numeric_limits<double>::quiet_NaN()}));
  CHECK(runner.run(request, {.deadline_s = 1e300}) == Outcome::kOk);
  CHECK_EQ(runner.statistics().submitted, 1u);
}

TEST(a_deadline_that_is_over_runs_no_step_and_is_counted) {
  const flow::Plan plan = diamond();
  sched::Scheduler scheduler{{.workers = 1}};
  flow::Runner runner{plan, scheduler};
  Request request;
  CHECK(runner.run(request, {.deadline_s = 0}) == Outcome::kTimedOut);
  CHECK_EQ(request.text, "");
  CHECK_EQ(runner.statistics().timed_out, 1u);
  CHECK(runner.run(request) == Outcome::kOk);  // the block is armed again
  balanced(runner.statistics());
}

TEST(a_run_that_nobody_waits_for_is_settled_by_its_deadline_while_a_step_still_runs) {
  const flow::Plan plan = hold_then_after();
  sched::Scheduler scheduler{{.workers = 1}};
  flow::Runner runner{plan, scheduler};
  Held request;
  {
    const flow::RunHandle run = runner.start(request, notes(0.001));  // the held step sees its run settled, and ends
  }
  while (request.fired.load() == 0) std::this_thread::yield();
  CHECK(request.outcome.load() == Outcome::kTimedOut);
  CHECK_EQ(request.settled.load(), 1);
  CHECK(!request.after_ran);
}

TEST(a_cancelled_run_starts_no_further_step_and_its_request_is_free_when_it_has_fired) {
  const flow::Plan plan = hold_then_after();
  sched::Scheduler scheduler{{.workers = 1}};
  flow::Runner runner{plan, scheduler};
  Held request;
  flow::RunHandle run = runner.start(request, notes());
  request.entered.wait();
  CHECK(run.outcome() == Outcome::kPending);
  CHECK(run.wait_for(0) == Outcome::kPending);
  CHECK(run.cancel());
  CHECK(!run.cancel());
  CHECK(run.wait() == Outcome::kCancelled);
  CHECK(run.wait_fired() == Outcome::kCancelled);
  CHECK_EQ(request.fired.load(), 1);
  CHECK(!request.after_ran);
  CHECK(run.error() == nullptr);
}

TEST(what_a_step_throws_fails_the_run_and_reaches_who_started_it) {
  const flow::Plan plan = hold_then_after();
  sched::Scheduler scheduler{{.workers = 1}};
  flow::Runner runner{plan, scheduler};
  Held request;
  request.throws = true;
  request.go_on = true;
  std::exception_ptr thrown;
  CHECK(runner.run(request, {.error = &thrown}) == Outcome::kFailed);
  CHECK_THROWS(std::runtime_error, std::rethrow_exception(thrown));
  CHECK(!request.after_ran);
  Held second;
  second.throws = true;
  second.go_on = true;
  flow::RunHandle run = runner.start(second, notes());
  CHECK(run.wait_fired() == Outcome::kFailed);
  CHECK_THROWS(std::runtime_error, std::rethrow_exception(run.error()));
  Held third;
  third.go_on = true;
  CHECK(runner.run(third) == Outcome::kOk);
  CHECK(third.after_ran);
  CHECK_EQ(runner.statistics().failed, 2u);
  balanced(runner.statistics());
}

TEST(a_full_runner_rejects_at_once_and_accepts_again_when_a_run_has_fired) {
  const flow::Plan plan = hold_then_after();
  sched::Scheduler scheduler{{.workers = 1}};
  flow::Runner runner{plan, scheduler, {.max_in_flight = 1}};
  Held first, second;
  second.go_on = true;
  flow::RunHandle run = runner.start(first, notes());
  CHECK(runner.run(second) == Outcome::kRejected);
  flow::RunHandle refused = runner.start(second, notes());
  CHECK(refused.outcome() == Outcome::kRejected);
  CHECK(refused.wait_fired() == Outcome::kRejected);
  CHECK(!refused.cancel());
  CHECK(!second.after_ran);
  CHECK_EQ(second.settled.load() + second.fired.load(), 0);
  first.go_on = true;
  CHECK(run.wait_fired() == Outcome::kOk);
  while (runner.run(second) == Outcome::kRejected)
    std::this_thread::yield();  // until the worker has let go of the first
  CHECK(second.after_ran);
  CHECK_EQ(runner.statistics().ok, 2u);
  CHECK(runner.statistics().rejected >= 2);
  balanced(runner.statistics());
}

TEST(a_run_after_stop_is_rejected_and_nothing_runs) {
  const flow::Plan plan = diamond();
  sched::Scheduler scheduler{{.workers = 1}};
  flow::Runner runner{plan, scheduler};
  Request request;
  CHECK(runner.run(request) == Outcome::kOk);
  scheduler.stop_begin();
  CHECK(scheduler.stop_wait(base::kNever));
  CHECK(runner.run(request) == Outcome::kRejected);
  CHECK(runner.start(request).outcome() == Outcome::kRejected);
  CHECK_EQ(request.text, "parse reply");
  balanced(runner.statistics());
}

TEST(a_waiter_begins_a_run_that_no_worker_has_come_to) {
  const flow::Plan plan = diamond();
  sched::Scheduler scheduler{{.workers = 1}};
  flow::Runner runner{plan, scheduler};
  std::latch busy{1};
  scheduler.submit([&busy](sched::Worker*) { busy.wait(); });  // the only worker
  Request request;
  flow::RunHandle run = runner.start(request);
  CHECK(run.wait() == Outcome::kOk);
  busy.count_down();
}

TEST(a_runner_that_invites_nobody_starts_no_thread) {
  const flow::Plan plan = diamond();
  sched::Scheduler scheduler{{.workers = 1}};
  flow::Runner runner{plan, scheduler, {.invite_workers = false}};
  Request request;
  CHECK(runner.run(request) == Outcome::kOk);
  CHECK(!scheduler.started());
}

TEST(a_runner_may_go_as_soon_as_its_last_run_has_ended) {
  const flow::Plan plan = diamond();
  sched::Scheduler scheduler{{.workers = 2}};
  for (int round = 0; round < 200; ++round) {
    flow::Runner runner{plan, scheduler};
    Request request, other;
    runner.run(request);  // unknown cost: a worker is invited, and may come when the run is over
    CHECK(runner.start(other).wait_fired() == Outcome::kOk);
  }
}

TEST(a_virtual_runner_interleaves_runs_by_the_seed_and_repeats_them) {
  struct Traced {
    void first() { log->push_back(10 * id); }
    void left() { log->push_back(10 * id + 1); }
    void right() { log->push_back(10 * id + 2); }
    std::vector<int>* log = nullptr;
    int id = 0;
  };
  const auto trace = [](std::uint64_t seed) {
    flow::PlanBuilder builder;
    const auto first = builder.add<&Traced::first>();
    builder.edge(first, builder.add<&Traced::left>());
    builder.edge(first, builder.add<&Traced::right>());
    const flow::Plan plan = builder.compile();
    std::vector<int> log;
    sched::Scheduler scheduler{{.workers = 3, .seed = seed, .is_virtual = true}};
    flow::Runner runner{plan, scheduler};
    std::vector<Traced> requests(5);
    std::vector<flow::RunHandle> runs;
    for (int i = 0; i < 5; ++i) {
      requests[static_cast<std::size_t>(i)] = {&log, i};
      runs.push_back(runner.start(requests[static_cast<std::size_t>(i)]));
    }
    for (auto& run : runs) CHECK(run.wait_fired() == Outcome::kOk);
    CHECK_EQ(log.size(), 15u);
    return log;
  };
  int different = 0;
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    CHECK(trace(seed) == trace(seed));
    different += trace(seed) != trace(seed + 1) ? 1 : 0;
  }
  CHECK(different > 10);
}

TEST(a_virtual_deadline_passes_in_virtual_time) {
  const flow::Plan plan = hold_then_after();
  sched::Scheduler scheduler{{.is_virtual = true}};
  flow::Runner runner{plan, scheduler};
  Held request;
  flow::RunHandle run = runner.start(request, notes(5.0));
  scheduler.virtual_clock().advance_to(6'000'000'000);
  CHECK(run.wait_fired() == Outcome::kTimedOut);
  CHECK(!request.after_ran);
}

TEST(a_request_is_not_given_up_while_its_cancelled_run_is_still_replied_to) {
  const flow::Plan plan = hold_then_after();
  sched::Scheduler scheduler{{.workers = 1}};
  flow::Runner runner{plan, scheduler};
  Held held;
  flow::RunHandle run = runner.start(held, {.on_settled =
                                                [](void* request, Outcome) {
                                                  for (int i = 0; i < 1000; ++i)
                                                    std::this_thread::yield();  // the step that was held ends meanwhile
                                                  static_cast<Held*>(request)->settled.store(1);
                                                },
                                            .on_fired =
                                                [](void* request) {
                                                  auto* given_up = static_cast<Held*>(request);
                                                  given_up->fired.store(1 + given_up->settled.load());
                                                }});
  held.entered.wait();
  CHECK(run.cancel());
  CHECK_EQ(run.wait_fired(), Outcome::kCancelled);
  CHECK_EQ(held.fired.load(), 2);
  CHECK(!held.after_ran);
  balanced(runner.statistics());
}

}  // namespace
