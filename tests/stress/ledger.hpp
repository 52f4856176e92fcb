// ledger.hpp -- units of work that note how they end, and the sum of them: each once, all accounted for.
//
// What      `Unit`, `Ledger`, and the same unit as an item, a timer, a request of a plan.
// Why       submitted = ok + failed + cancelled + rejected + timed_out + in_flight, for whatever way it went.
// Threads   end: whoever ends the unit. The sums: when all is quiet.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <sstream>
#include <stdexcept>
#include <string>

#include "../cpp/harness.hpp"
#include "tailrace/flow/runner.hpp"
#include "tailrace/sched/scheduler.hpp"

namespace tailrace::test {

using base::Outcome;

class Ledger {
 public:
  void submit() { submitted_.fetch_add(1, std::memory_order_relaxed); }
  void end(Outcome how) { ended_[static_cast<std::size_t>(how)].fetch_add(1, std::memory_order_relaxed); }
  std::uint64_t submitted() const { return submitted_.load(); }
  std::uint64_t of(Outcome how) const { return ended_[static_cast<std::size_t>(how)].load(); }
  std::uint64_t ended() const {
    std::uint64_t sum = 0;
    for (const auto& one : ended_) sum += one.load();
    return sum;
  }
  std::string text() const {
    std::ostringstream out;
    out << submitted() << " submitted =";
    for (int how = 1; how < base::kOutcomeCount; ++how) {
      out << (how == 1 ? " " : " + ") << of(static_cast<Outcome>(how)) << " " << name(static_cast<Outcome>(how));
    }
    return out.str();
  }

 private:
  std::atomic<std::uint64_t> submitted_{0};
  std::array<std::atomic<std::uint64_t>, base::kOutcomeCount> ended_{};
};

struct Unit {
  void begin(Ledger& to) {
    ledger = &to;
    to.submit();
  }
  void end(Outcome how) {
    if (ends.fetch_add(1) != 0) CHECK(!"a unit ended twice");
    ledger->end(how);
  }
  bool ended() const { return ends.load() != 0; }
  Ledger* ledger = nullptr;
  std::atomic<int> ends{0};
};

// For every lane that takes items.
struct UnitItem : sched::Item, Unit {
  void run(sched::Worker* worker) override {
    if (gated) worker->enter_body(open);
    for (int i = 0; i < pauses; ++i) base::pause();
    if (gated) worker->leave_body();
    end(fails ? Outcome::kFailed : Outcome::kOk);
  }
  void complete(Outcome how) override { end(how); }
  void drop() override { CHECK(!"nothing is dropped here"); }
  bool gated = false, open = false, fails = false;
  int pauses = 0;
};

template <class Item>
void set_deadline(Item& item, std::int64_t deadline_ns) {
  if constexpr (requires { item.deadline_ns; }) item.deadline_ns = deadline_ns;
}

struct UnitTimer final : sched::Timer, Unit {
  void fire() override { end(Outcome::kOk); }
};

// For plans: two ways from `first` to `last`, any step of which may throw.
struct UnitRequest : Unit {
  void first() { step(0); }
  void left() { step(1); }
  void right() { step(2); }
  void last() { step(3); }
  void step(int n) {
    if (ran[n].exchange(true)) CHECK(!"a step ran twice");
    for (int i = 0; i < pauses; ++i) base::pause();
    if (throws == n) throw std::runtime_error{"as the seed has it"};
  }
  static void settled(void* request, Outcome how) {
    auto& self = *static_cast<UnitRequest*>(request);
    if (how == Outcome::kOk) {
      for (const auto& did : self.ran) CHECK(did.load());
    }
    self.end(how);
  }
  static void fired(void* request) {
    if (static_cast<UnitRequest*>(request)->fires.fetch_add(1) != 0) CHECK(!"a run fired twice");
  }
  static flow::Plan plan() {
    flow::PlanBuilder builder;
    const auto a = builder.add<&UnitRequest::first>(), b = builder.add<&UnitRequest::left>();
    const auto c = builder.add<&UnitRequest::right>(), d = builder.add<&UnitRequest::last>();
    builder.edge(a, b);
    builder.edge(a, c);
    builder.edge(b, d);
    builder.edge(c, d);
    return builder.compile();
  }
  std::array<std::atomic<bool>, 4> ran{};
  std::atomic<int> fires{0};
  int throws = -1, pauses = 0;
};

}  // namespace tailrace::test
