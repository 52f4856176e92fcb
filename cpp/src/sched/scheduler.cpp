#include "tailrace/sched/scheduler.hpp"

#include <algorithm>
#include <stdexcept>
#include <system_error>
#include <utility>

#include "tailrace/base/check.hpp"
#include "tailrace/sched/take_one.hpp"

namespace tailrace::sched {

namespace {

SchedulerOptions checked(SchedulerOptions options) {
  if (options.workers < 1 || options.workers > kMaxWorkers) {
    throw std::invalid_argument{"tailrace: workers must be 1 to " + std::to_string(kMaxWorkers) + ", got " +
                                std::to_string(options.workers)};
  }
  if (options.max_blocking < 1) throw std::invalid_argument{"tailrace: max_blocking must be at least 1"};
  return options;
}

}  // namespace

Scheduler::Scheduler(SchedulerOptions options)
    : options_{checked(std::move(options))},
      clock_{options_.is_virtual ? static_cast<const base::Clock*>(&virtual_clock_) : &base::RealClock::instance()},
      keeper_{options_.keeper != nullptr ? options_.keeper : &null_keeper_},
      idle_{options_.workers, options_.membarrier && base::membarrier_works()},
      places_{idle_, options_.workers, !options_.is_virtual, options_.spin_ns},
      blocking_{options_.name, options_.max_blocking, keeper_->thread_hooks()},
      virtual_bag_{options_.seed},
      watch_{options_.name + "-watch", lane_, idle_, *keeper_, *clock_, stopping_} {
  for (int i = 0; i < options_.workers; ++i) {
    workers_.push_back(std::make_unique<Worker>(*this, i, options_.seed * 1'000'003 + static_cast<std::uint64_t>(i)));
  }
}

Scheduler::~Scheduler() {
  if (!stopping()) {
    if (!options_.is_virtual && started()) drain();
    stop_begin();
  }
  stop_wait(base::kNever);
}

void Scheduler::ensure_started() {
  if (!started()) start();
}

void Scheduler::start() {
  const std::lock_guard lock{life_mutex_};
  // relaxed: the mutex orders it
  if (options_.is_virtual || started_.load(base::relaxed) || stopping()) return;
  for (auto& worker : workers_) {
    try {
      threads_.emplace_back(worker->name(), [w = worker.get()] { w->loop(); });
    } catch (const std::system_error&) {
      if (threads_.empty()) throw;  // fewer workers than asked for still do all the work
      break;
    }
  }
  started_.store(true, base::release);  // [S3] release: the threads exist. Pairs with [S1].
}

void Scheduler::push_gated(Item* item) {
  lane_.push(item);
  if (options_.is_virtual) return;
  ensure_started();
  if (lane_.gate.can_acquire()) idle_.notify();
  if (must_sweep()) sweep();
}

Item* Scheduler::take_gated() {
  return take_one(lane_, [this] { return must_sweep(); }, [this] { sweep(); }, [this] { idle_.notify(); });
}

void Scheduler::push_blocking(Item* item) {
  if (options_.is_virtual) return virtual_bag_.push_blocking(item);
  if (!blocking_.submit(item)) item->complete(base::Outcome::kCancelled);
}

bool Scheduler::inject(const queue::Cell& cell) {
  if (stopping() || !injection_.push(cell, idle_)) return false;
  ensure_started();
  return true;
}

bool Scheduler::all_injected_ran() const {
  std::uint64_t ran = 0;
  for (const auto& worker : workers_) ran += worker->counters_.injected.read_published();
  return ran >= injection_.pushed();
}

void Scheduler::drain() {
  if (options_.is_virtual) {
    while (drive_once()) {
    }
    return;
  }
  drainers_.fetch_add(1, base::relaxed);  // relaxed: a worker that misses it is caught by the time limit below
  for (;;) {
    const std::uint32_t epoch = quiet_epoch_.load(base::acquire);  // [W2] acquire: pairs with [W1]
    if (all_injected_ran()) break;
    base::StdAtomics::park(quiet_epoch_, epoch, 1'000'000);
  }
  drainers_.fetch_sub(1, base::relaxed);  // relaxed: as above
}

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
  if (options_.is_virtual) {
    virtual_bag_.complete_all(base::Outcome::kCancelled);
    for (auto& worker : workers_) worker->complete_own();
  }
  blocking_.stop_begin(cancel_blocking);
  idle_.notify_all();
  watch_.wake();
}

bool Scheduler::stop_wait(std::int64_t deadline_ns) {
  std::vector<Thread> threads;
  {
    const std::lock_guard lock{life_mutex_};
    threads.swap(threads_);
  }
  watch_.move_thread_to(threads);
  const bool blocking_ended = blocking_.stop_wait(deadline_ns);
  std::erase_if(threads, [deadline_ns](Thread& thread) { return thread.join_until(deadline_ns); });
  const std::lock_guard lock{life_mutex_};
  // Who is late still uses this scheduler: kept, so that a later call, or the destructor, waits for it.
  for (Thread& thread : threads) threads_.push_back(std::move(thread));
  return blocking_ended && threads.empty();
}

// The virtual runtime: one thread, seeded choices.

bool Scheduler::drive_once() {
  TAILRACE_CHECK(options_.is_virtual, "only a virtual scheduler is driven");
  const std::int64_t now = clock_->now_ns();
  if (watch_.timers().fire_due(now) > 0) return true;
  if (Item* item = virtual_bag_.take_blocking()) return item->run(nullptr), true;
  const auto n = static_cast<std::uint32_t>(workers_.size());
  const std::uint32_t first = virtual_bag_.random().below(n);
  for (std::uint32_t i = 0; i < n; ++i) {
    Worker& worker = *workers_[(first + i) % n];
    if (worker.virtual_busy_until_ns <= now && worker.step() == Progress::kRan) return true;
  }
  return false;
}

std::int64_t Scheduler::next_event_ns() {
  std::int64_t next = watch_.timers().next_deadline_ns();
  const std::int64_t now = clock_->now_ns();
  for (const auto& worker : workers_) {
    if (worker->virtual_busy_until_ns > now) next = std::min(next, worker->virtual_busy_until_ns);
  }
  return next;
}

}  // namespace tailrace::sched
