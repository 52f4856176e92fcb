// worker_lanes.cpp -- what a worker takes from the open lane, the deadline lane and its inbox.
#include "tailrace/sched/scheduler.hpp"
#include "tailrace/sched/worker.hpp"

namespace tailrace::sched {

// An item of this class: of this worker, of all, of another worker.
Item* Worker::take_open(Priority priority) {
  OpenLane& lane = scheduler_.open_;
  if (!lane.used() || scheduler_.stopping()) return nullptr;
  const auto c = static_cast<std::size_t>(priority);
  bool shared = false;
  Item* item = scheduler_.options_.is_virtual ? scheduler_.virtual_bag_.take_open(lane, priority)
                                              : lane.take(c, open_[c], &shared);
  if (shared) scheduler_.idle_.notify();
  if (item == nullptr) item = steal_open(priority);
  if (item != nullptr) counters_.open[c].add();
  return item;
}

// The item with the earliest deadline, if it has no more slack than this; ends those that come too late.
Item* Worker::take_deadline(std::int64_t slack_ns, bool* ended) {
  DeadlineLane& lane = scheduler_.deadline_;
  if (!lane.used() || scheduler_.stopping()) return nullptr;
  const std::int64_t now = scheduler_.clock().now_ns();
  Item* late = nullptr;
  Item* item = lane.take(now, slack_ns == base::kNever ? base::kNever - 1 : now + slack_ns, &late);
  std::int64_t taken = item != nullptr ? 1 : 0;
  for (const Item* each = late; each != nullptr; each = each->next) ++taken;
  if (taken > 0) lane.forget(taken);
  // Pushed while we had a guard, so nobody was woken for it; or not swept.
  if (!scheduler_.options_.is_virtual && lane.sees_work()) scheduler_.idle_.notify();
  if (scheduler_.must_sweep()) scheduler_.sweep_deadline();
  while (late != nullptr) {
    Item* next = late->next;
    counters_.late.add();
    *ended = true;
    late->complete(base::Outcome::kTimedOut);
    late = next;
  }
  return item;
}

Item* Worker::take_affine() {
  Item* item = scheduler_.stopping() ? nullptr : inbox_.pop();
  if (item != nullptr) counters_.affine.add();
  return item;
}

}  // namespace tailrace::sched
