// ways_in.cpp -- the lanes' side of the scheduler: pushes, what stop does with them, and how much waits in them.
#include <algorithm>
#include <stdexcept>

#include "tailrace/sched/scheduler.hpp"

namespace tailrace::sched {

void Scheduler::push(Item* item) {
  open_.push(item, static_cast<std::size_t>(item->priority));
  if (!options_.is_virtual) {
    ensure_started();
    idle_.notify();
  }
  if (must_sweep()) sweep_open();
}

void Scheduler::push_to(int worker, Item* item) {
  if (worker < 0 || worker >= worker_count()) {
    throw std::out_of_range{"tailrace: push_to needs a worker from 0 to " + std::to_string(worker_count() - 1) +
                            ", got " + std::to_string(worker) + "; use push for an item that any worker may run"};
  }
  Worker& target = *workers_[static_cast<std::size_t>(worker)];
  affine_pushed_.fetch_add(1, base::relaxed);  // relaxed: a statistic
  target.inbox_.push(item);
  if (!options_.is_virtual) {
    ensure_started();
    idle_.notify_one(worker);
    if (crew_.is_beyond(worker)) crew_.recall(worker);  // resized meanwhile: it may have retired before our push
  }
  if (must_sweep()) sweep_open();
}

// Ends what no worker has taken over. What one has is ended by that worker, as it takes no open item any more.
void Scheduler::sweep_open() {
  const auto end_all = [](Item* chain, auto&& forget) {
    while (chain != nullptr) {
      Item* next = chain->next;
      forget();
      chain->complete(base::Outcome::kCancelled);
      chain = next;
    }
  };
  for (std::size_t c = 0; c < kPriorities; ++c) {
    end_all(open_.take_pushed(c), [&] { open_.forget(c); });
    for (const auto& worker : workers()) {
      Item* item = nullptr;
      for (queue::Steal how{}; (how = worker->open_[c].steal(item)) != queue::Steal::kEmpty;) {
        if (how != queue::Steal::kTaken) continue;
        open_.forget(c);
        item->complete(base::Outcome::kCancelled);
      }
    }
  }
  for (const auto& worker : workers()) {
    end_all(worker->inbox_.take_pushed(), [&] { affine_pushed_.fetch_sub(1, base::relaxed); });  // relaxed: a statistic
  }
}

LaneDepths Scheduler::lane_depths() const {
  LaneDepths depths;
  depths.gated = std::max<std::int64_t>(lane_.depth(), 0) + virtual_bag_.gated_count();
  const auto waiting = [](std::uint64_t pushed, std::uint64_t taken) {
    return std::max<std::int64_t>(static_cast<std::int64_t>(pushed - taken), 0);
  };
  std::uint64_t affine_taken = 0;
  for (const auto& worker : workers()) affine_taken += worker->counters_.affine.read();
  depths.affine = waiting(affine_pushed_.load(base::relaxed), affine_taken);  // relaxed: a statistic
  for (std::size_t c = 0; c < kPriorities; ++c) {
    std::uint64_t taken = 0;
    for (const auto& worker : workers()) taken += worker->counters_.open[c].read();
    depths.open[c] = waiting(open_.pushed(c), taken);
  }
  for (const auto& worker : workers()) depths.deques += worker->deque().backlog();
  depths.injection = injection_.backlog();
  return depths;
}

}  // namespace tailrace::sched
