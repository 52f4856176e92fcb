#include "tailrace/sched/permit_lane.hpp"

#include <utility>

#include "tailrace/sched/scheduler.hpp"

namespace tailrace::sched {

// Holds one permit, and gives it back with itself.
struct PermitLane::Carrier final : Item {
  explicit Carrier(PermitLane& l) : lane{l} {}
  void run(Worker* worker) override;
  void complete(base::Outcome outcome) override;
  void drop() override {}
  void give_back();

  PermitLane& lane;
  Carrier* next = nullptr;  // among the idle; hides the link of the open lane, which it is never in at the same time
  Item* item = nullptr;
};

struct PermitLane::Serve {
  PermitLane& lane;

  bool ends(Item* item) {
    if (!lane.scheduler_.stopping()) return false;
    lane.waiting_.fetch_sub(1, base::relaxed);  // relaxed: a bound and a statistic, not a protocol
    item->complete(base::Outcome::kCancelled);
    return true;
  }
  void dispatch(Carrier* carrier, Item* item) {
    lane.waiting_.fetch_sub(1, base::relaxed);  // relaxed: as above
    lane.inside_.fetch_add(1, base::relaxed);   // relaxed: a statistic
    carrier->item = item;
    carrier->priority = item->priority;
    lane.scheduler_.push(carrier);
  }
};

void PermitLane::Carrier::run(Worker* worker) {
  const bool is_virtual = lane.scheduler_.options().is_virtual;  // one item a step there: the seed chooses what follows
  const std::int64_t until_ns = is_virtual ? 0 : base::monotonic_ns() + lane.options_.slice_ns;
  do {
    std::exchange(item, nullptr)->run(worker);
    if (is_virtual || base::monotonic_ns() >= until_ns) break;
    item = lane.permits_.next(Serve{lane});
    if (item != nullptr) lane.waiting_.fetch_sub(1, base::relaxed);  // relaxed: as above
  } while (item != nullptr);
  give_back();
}

void PermitLane::Carrier::complete(base::Outcome outcome) {
  std::exchange(item, nullptr)->complete(outcome);
  give_back();
}

void PermitLane::Carrier::give_back() {
  lane.inside_.fetch_sub(1, base::relaxed);  // relaxed: a statistic
  PermitLane& of = lane;  // once given back, another thread may run this carrier
  of.permits_.give_back(this);
  of.permits_.pair(Serve{of});
}

PermitLane::PermitLane(Scheduler& scheduler, GateOptions options)
    : scheduler_{scheduler}, options_{std::move(options)} {
  for (int i = 0; i < options_.width; ++i) {
    carriers_.push_back(std::make_unique<Carrier>(*this));
    permits_.give_back(carriers_.back().get());
  }
}

PermitLane::~PermitLane() = default;

bool PermitLane::push(Item* item) {
  // relaxed (both): a bound, not a protocol
  if (waiting_.fetch_add(1, base::relaxed) >= options_.max_waiting && options_.max_waiting > 0) {
    waiting_.fetch_sub(1, base::relaxed);
    refused_.fetch_add(1, base::relaxed);  // relaxed: a statistic
    return false;
  }
  permits_.push(item);
  permits_.pair(Serve{*this});
  return true;
}

void PermitLane::end_waiting() { permits_.pair(Serve{*this}); }

GateStatistics PermitLane::statistics() const noexcept {
  // relaxed (all): statistics
  return {waiting_.load(base::relaxed), inside_.load(base::relaxed), refused_.load(base::relaxed)};
}

}  // namespace tailrace::sched
