// scheduler_stop.cpp -- the end of a scheduler: what is queued, what runs, who is late.
#include <algorithm>
#include <utility>

#include "tailrace/sched/scheduler.hpp"

namespace tailrace::sched {

// Ends what is left in the lane, unless a worker inside the gate will do it when it comes out.
void Scheduler::sweep() {
  while (lane_.has_items() && lane_.gate.can_acquire()) {
    const Gate::Ticket ticket = lane_.gate.try_acquire();
    if (ticket == 0) return;
    while (Item* item = lane_.pop()) item->complete(base::Outcome::kCancelled);
    lane_.note_leftover();
    lane_.gate.release(ticket);
  }
}

void Scheduler::stop_begin(bool cancel_blocking) {
  stopping_.store(true, base::seq_cst);  // [S2] seq_cst: a pusher that does not see it is seen by the sweep below
  if (const std::uint64_t closed = lane_.gate.closed_body()) lane_.gate.force_open(closed);
  sweep();
  sweep_open();
  sweep_deadline();
  end_gates();
  if (options_.is_virtual) {
    virtual_bag_.complete_all(base::Outcome::kCancelled);
    for (const auto& worker : workers()) worker->complete_own();
  }
  blocking_.stop_begin(cancel_blocking);
  crew_.end();
  idle_.notify_all();
  watch_.wake();
}

StopResult Scheduler::stop_wait(std::int64_t deadline_ns) {
  const std::int64_t began = base::monotonic_ns();
  if (options_.is_virtual) return {};
  std::vector<std::uint64_t> items;
  for (const auto& worker : workers()) items.push_back(worker->items_run());
  // [S5] acq_rel: one at a time, each after the one before; who comes out of time only looks.
  while (stop_turn_.exchange(1, base::acq_rel) != 0) {
    if (base::monotonic_ns() >= deadline_ns) return {late_workers(began, items), injection_.backlog()};
    base::StdAtomics::park(stop_turn_, 1, std::min<std::int64_t>(deadline_ns - base::monotonic_ns(), 1'000'000'000));
  }
  watch_.move_thread_to(watch_thread_);
  blocking_.stop_wait(deadline_ns);
  crew_.join_until(deadline_ns);
  std::erase_if(watch_thread_, [deadline_ns](Thread& thread) { return thread.join_until(deadline_ns); });
  // Who is late still uses this scheduler: kept, so that a later call, or the destructor, waits for it.
  StopResult result{late_workers(began, items), injection_.backlog()};
  const std::int64_t waited = base::monotonic_ns() - began;
  for (std::string& name : blocking_.late()) result.late.push_back({std::move(name), "a blocking body", waited});
  for (const Thread& thread : watch_thread_) result.late.push_back({thread.name(), "a timer", waited});
  stop_turn_.store(0, base::release);  // [S5] release: as above
  base::StdAtomics::unpark(stop_turn_, 1);
  return result;
}

StopResult Scheduler::stop(std::int64_t bound_ns) {
  const std::int64_t now = base::monotonic_ns();
  stop_begin();
  return stop_wait(bound_ns < base::kNever - now ? now + bound_ns : base::kNever);
}

// `items`: what each had run when the wait `began`.
std::vector<LateThread> Scheduler::late_workers(std::int64_t began_ns, const std::vector<std::uint64_t>& items) const {
  std::vector<LateThread> late;
  const std::int64_t now = base::monotonic_ns();
  for (const int slot : crew_.late()) {
    const auto at = static_cast<std::size_t>(slot);
    const Worker& worker = *workers_[at];
    const bool same = at < items.size() && worker.items_run() == items[at];
    late.push_back({worker.name(), worker.doing(), same ? now - std::min(began_ns, worker.body_since_ns()) : 0});
  }
  return late;
}

}  // namespace tailrace::sched
