// ways_in.cpp -- the lanes' side of the scheduler: pushes, what stop does with them, and how much waits in them.
#include <algorithm>
#include <stdexcept>
#include <utility>

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

void Scheduler::push_deadline(Item* item, std::int64_t deadline_ns) {
  constexpr std::int64_t kTenYearsNs = 315'576'000'000'000'000;
  const std::int64_t now = clock_->now_ns();
  if (deadline_ns < 0 || deadline_ns - now > kTenYearsNs) {
    throw std::invalid_argument{
        "tailrace: a deadline is a time of the scheduler's clock, not of the wall clock, at most ten years ahead: "
        "push_deadline(&item, scheduler.clock().now_ns() + 20'000'000); it is " +
        std::to_string(now) + " now, got " + std::to_string(deadline_ns)};
  }
  item->deadline_ns = deadline_ns;
  // A thread's items go to one shard, so that it touches one line; threads are spread over the shards.
  static base::atomic<std::uint32_t> homes{0};
  thread_local const std::uint32_t home = homes.fetch_add(1, base::relaxed);  // relaxed: only spreads
  deadline_.push(item, home);
  if (!options_.is_virtual) {
    ensure_started();
    if (deadline_.sees_work()) idle_.notify();
  }
  if (must_sweep()) sweep_deadline();
}

void Scheduler::push_deadline_in(Item* item, double seconds) {
  if (!(seconds >= 0 && seconds <= 315'576'000.0)) {
    throw std::invalid_argument{"tailrace: a deadline is 0 to 315576000 seconds ahead (ten years), got " +
                                std::to_string(seconds)};
  }
  push_deadline(item, base::after_s(clock_->now_ns(), seconds));
}

PermitLane& Scheduler::make_gate(GateOptions options) {
  if (options.width < 1 || options.width > kMaxGateWidth) {
    throw std::invalid_argument{"tailrace: gate '" + options.name + "' needs a width of 1 to " +
                                std::to_string(kMaxGateWidth) + ", got " + std::to_string(options.width)};
  }
  if (options.slice_ns < 0 || options.max_waiting < 0) {
    throw std::invalid_argument{"tailrace: gate '" + options.name +
                                "' needs slice_ns and max_waiting of at least 0 (0 waiting: no bound)"};
  }
  const std::lock_guard lock{gates_mutex_};
  gates_.push_back(std::make_unique<PermitLane>(*this, std::move(options)));
  return *gates_.back();
}

void Scheduler::end_gates() {
  std::vector<PermitLane*> gates;  // first: who is told of an end may make another gate
  {
    const std::lock_guard lock{gates_mutex_};
    for (const auto& gate : gates_) gates.push_back(gate.get());
  }
  for (PermitLane* gate : gates) gate->end_waiting();
}

void Scheduler::sweep_deadline() {
  deadline_.take_everything([this](Item* item) {
    deadline_.forget(1);
    item->complete(base::Outcome::kCancelled);
  });
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
  depths.deadline = deadline_.waiting();
  std::uint64_t affine_taken = 0;
  for (const auto& worker : workers()) {
    affine_taken += worker->counters_.affine.read();
    depths.late += static_cast<std::int64_t>(worker->counters_.late.read());
  }
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
