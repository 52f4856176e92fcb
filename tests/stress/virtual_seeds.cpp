// virtual_seeds.cpp -- ten thousand virtual worlds: plans, priorities, deadlines, cancels, in an order drawn from a seed.
//
// A seed that fails prints itself. TAILRACE_WORLD=N replays that one alone and prints its trace; TAILRACE_WORLDS=N sets
// how many there are.
#include <deque>
#include <iostream>
#include <vector>

#include "ledger.hpp"
#include "tailrace/base/random.hpp"

namespace {

using namespace tailrace;
using test::Ledger;
using test::Outcome;

struct Event {
  std::int64_t at_ns;
  char what;  // (i)tem ran, (c)ompleted without running, (n)ode ran, (s)ettled, (t)imer
  int which;
  int detail;
  bool operator==(const Event&) const = default;
};

class World {
 public:
  explicit World(std::uint64_t seed)
      : random_{seed},
        scheduler_{{.workers = 1 + static_cast<int>(random_.below(4)), .seed = seed, .is_virtual = true}},
        gate_{scheduler_.make_gate({.width = 1 + static_cast<int>(random_.below(2)), .max_waiting = 3})},
        graph_{1 + random_.below(12)},
        plan_{make_plan()},
        runner_{plan_, scheduler_, {.max_in_flight = random_.below(2) == 0 ? 0 : 1 + random_.below(4)}} {}

  void play() {
    const int n = 4 + static_cast<int>(random_.below(12));
    for (int i = 0; i < n; ++i) {
      switch (random_.below(4)) {
        case 0:
          push_item(i);
          break;
        case 1:
          arm_cancel(i);
          break;
        default:
          start_run(i);
          break;
      }
      for (std::uint32_t steps = random_.below(4); steps > 0; --steps) drive();
    }
    while (drive()) {
    }
    for (const Request& request : requests_) check(request);
    CHECK_EQ(ledger_.submitted(), ledger_.ended());
    const flow::RunnerStatistics s = runner_.statistics();
    CHECK_EQ(s.in_flight, 0u);
    CHECK_EQ(s.submitted, s.ok + s.failed + s.cancelled + s.rejected + s.timed_out);
    CHECK_EQ(s.submitted, requests_.size());
  }
  const std::vector<Event>& trace() const { return trace_; }
  const Ledger& ledger() const { return ledger_; }

 private:
  struct Request : test::Unit {
    World* world = nullptr;
    int id = 0, fails_at = -1;
    std::vector<int> times;
    Outcome outcome = Outcome::kPending;
    int fired = 0;
  };
  struct Item final : sched::Item, test::Unit {
    void run(sched::Worker* worker) override {
      if (worker != nullptr) worker->virtual_busy_until_ns = world->now() + cost_ns;
      world->note('i', id, static_cast<int>(priority));
      end(Outcome::kOk);
    }
    void complete(Outcome how) override {
      world->note('c', id, static_cast<int>(how));
      end(how);
    }
    void drop() override { CHECK(!"nothing is dropped here"); }
    World* world = nullptr;
    int id = 0;
    std::int64_t cost_ns = 0;
  };
  // Cancels a run at its time.
  struct Canceller final : sched::Timer {
    void fire() override { world->cancel_at(which); }
    World* world = nullptr;
    std::size_t which = 0;
  };

  std::int64_t now() const { return scheduler_.clock().now_ns(); }
  void note(char what, int which, int detail) { trace_.push_back({now(), what, which, detail}); }
  std::int64_t some_ns() { return random_.below(5) == 0 ? 0 : static_cast<std::int64_t>(random_.below(1'000)) * 1'000; }

  static base::Verdict body(flow::Run& run, flow::NodeIndex index, void* arg, sched::Worker* worker) {
    auto& request = *static_cast<Request*>(run.request);
    World& world = *request.world;
    const int node = static_cast<int>(reinterpret_cast<std::uintptr_t>(arg));
    CHECK(run.plan().node(index).given == static_cast<flow::NodeIndex>(node));
    if (worker != nullptr) worker->virtual_busy_until_ns = world.now() + node * 1'000;
    ++request.times[static_cast<std::size_t>(node)];
    for (const int before : world.before_[static_cast<std::size_t>(node)]) {
      CHECK_EQ(request.times[static_cast<std::size_t>(before)], 1);
    }
    world.note('n', request.id, node);
    return node == request.fails_at ? base::Verdict::kFailed : base::Verdict::kDone;
  }
  flow::Plan make_plan() {
    flow::PlanBuilder builder;
    before_.resize(graph_);
    for (std::uint32_t i = 0; i < graph_; ++i) {
      builder.add(&World::body, reinterpret_cast<void*>(std::uintptr_t{i}));
      for (std::uint32_t k = i == 0 ? 0 : random_.below(3); k > 0; --k) {
        const std::uint32_t from = random_.below(i);
        before_[i].push_back(static_cast<int>(from));
        builder.edge(from, i);
      }
    }
    return builder.compile();
  }

  void start_run(int id) {
    Request& request = requests_.emplace_back();
    request.begin(ledger_);
    request.world = this;
    request.id = id;
    request.times.resize(graph_);
    if (random_.below(5) == 0) request.fails_at = static_cast<int>(random_.below(graph_));
    const double deadline_s = random_.below(3) == 0 ? static_cast<double>(some_ns()) * 1e-9 : 1e9;
    flow::RunHandle run = runner_.start(request, {.deadline_s = deadline_s,
                                                  .on_settled =
                                                      [](void* it, Outcome how) {
                                                        auto& self = *static_cast<Request*>(it);
                                                        self.outcome = how;
                                                        self.world->note('s', self.id, static_cast<int>(how));
                                                        self.end(how);
                                                      },
                                                  .on_fired = [](void* it) { ++static_cast<Request*>(it)->fired; }});
    if (run.outcome() == Outcome::kRejected) {
      request.outcome = Outcome::kRejected;
      request.fired = 1;
      request.end(Outcome::kRejected);
    }
    runs_.push_back(std::move(run));
  }
  void push_item(int id) {
    Item& item = items_.emplace_back();
    item.begin(ledger_);
    item.world = this;
    item.id = id;
    item.cost_ns = some_ns();
    item.priority = static_cast<sched::Priority>(random_.below(sched::kPriorities));
    if (random_.below(2) == 0) test::set_deadline(item, now() + some_ns());
    switch (random_.below(6)) {
      case 0:
        return scheduler_.push(&item);
      case 1:
        return scheduler_.push_gated(&item);
      case 2:
        return scheduler_.push_blocking(&item);
      case 3:
        return scheduler_.push_deadline(&item, now() + some_ns());
      case 4:
        if (!gate_.push(&item)) item.complete(Outcome::kRejected);
        return;
      default:
        return scheduler_.push_to(
            static_cast<int>(random_.below(static_cast<std::uint32_t>(scheduler_.worker_count()))), &item);
    }
  }
  void arm_cancel(int id) {
    if (runs_.empty()) return;
    Canceller& canceller = cancellers_.emplace_back();
    canceller.world = this;
    canceller.which = random_.below(static_cast<std::uint32_t>(runs_.size()));
    scheduler_.arm(canceller, now() + some_ns());
    note('t', id, static_cast<int>(canceller.which));
  }
  void cancel_at(std::size_t which) { runs_[which].cancel(); }

  bool drive() {
    if (scheduler_.drive_once()) return true;
    const std::int64_t next = scheduler_.next_event_ns();
    if (next == base::kNever) return false;
    scheduler_.virtual_clock().advance_to(next);
    return true;
  }

  void check(const Request& request) {
    CHECK_EQ(request.fired, 1);
    for (const int times : request.times) {
      CHECK(times <= 1);
      if (request.outcome == Outcome::kOk) CHECK_EQ(times, 1);
      if (request.outcome == Outcome::kRejected) CHECK_EQ(times, 0);
    }
  }

  Ledger ledger_;
  std::vector<Event> trace_;
  std::deque<Request> requests_;
  std::deque<Item> items_;
  std::deque<Canceller> cancellers_;
  std::vector<std::vector<int>> before_;
  base::Random random_;
  sched::Scheduler scheduler_;
  sched::PermitLane& gate_;
  const std::uint32_t graph_;
  const flow::Plan plan_;
  flow::Runner runner_;
  std::vector<flow::RunHandle> runs_;  // first to go: the runner outlives them
};

void print(const std::vector<Event>& trace) {
  for (const Event& event : trace) {
    std::cerr << "    " << event.at_ns << " ns  " << event.what << " " << event.which << " " << event.detail << "\n";
  }
}

std::uint64_t number_from(const char* name, std::uint64_t otherwise) {
  const char* text = std::getenv(name);
  return text == nullptr ? otherwise : std::strtoull(text, nullptr, 0);
}

TEST(ten_thousand_virtual_worlds_end_every_unit_once_and_repeat_from_their_seed) {
  const std::uint64_t only = number_from("TAILRACE_WORLD", 0);
  const std::uint64_t first = only != 0 ? only : test::seed();
  const std::uint64_t worlds = only != 0 ? 1 : number_from("TAILRACE_WORLDS", 10'000);
  std::array<std::uint64_t, base::kOutcomeCount> sums{};
  std::uint64_t events = 0;
  for (std::uint64_t seed = first; seed < first + worlds; ++seed) {
    const int before = test::failures();
    World world{seed};
    world.play();
    World again{seed};
    again.play();
    CHECK(world.trace() == again.trace());
    events += world.trace().size();
    for (int how = 1; how < base::kOutcomeCount; ++how) {
      sums[static_cast<std::size_t>(how)] += world.ledger().of(static_cast<Outcome>(how));
    }
    if (test::failures() != before || only != 0) print(world.trace());
    if (test::failures() != before) {
      std::cerr << "  seed " << seed << " failed; replay it with TAILRACE_WORLD=" << seed << std::endl;
      return;
    }
  }
  std::cout << "  " << worlds << " worlds, " << events << " events, each world twice" << std::endl;
  if (only != 0) return;
  for (int how = 1; how < base::kOutcomeCount; ++how) CHECK(sums[static_cast<std::size_t>(how)] > 0);
}

}  // namespace
