#include "tailrace/sched/scheduler.hpp"

#include <algorithm>
#include <stdexcept>
#include <system_error>
#include <utility>

#include "tailrace/base/check.hpp"
#include "tailrace/sched/take_one.hpp"

namespace tailrace::sched {

namespace {

thread_local Scheduler* running_here = nullptr;

}  // namespace

Scheduler* Scheduler::of_this_thread() noexcept { return running_here; }

Scheduler::Scheduler(SchedulerOptions options)
    : options_{checked(std::move(options))},
      clock_{options_.is_virtual ? static_cast<const base::Clock*>(&virtual_clock_) : &base::RealClock::instance()},
      keeper_{options_.keeper != nullptr ? options_.keeper : &null_keeper_},
      cpus_{cpus_of_workers(options_.affinity, options_.max_workers, allowed_cpus())},
      topology_{cpus_.empty() ? Topology{} : read_topology()},
      workers_(static_cast<std::size_t>(options_.max_workers)),
      deadline_{options_.max_workers},
      idle_{options_.max_workers, options_.membarrier && base::membarrier_works()},
      places_{idle_, options_.max_workers, !options_.is_virtual, options_.spin_ns},
      blocking_{options_.name, options_.max_blocking, keeper_->thread_hooks()},
      virtual_bag_{options_.seed},
      crew_{options_.workers,
            options_.max_workers,
            {[this](int slot) { make_worker(slot); }, [this](int slot) { return worker(slot).name(); },
             [this](int slot) { work(slot); }}},
      watch_{options_.name + "-watch", lane_, idle_, *keeper_, *clock_, stopping_} {}

Scheduler::~Scheduler() {
  TAILRACE_CHECK(of_this_thread() != this, "a body must not destroy the scheduler that runs it");
  if (!stopping()) {
    if (!options_.is_virtual && started()) drain();
    stop_begin();
  }
  stop_wait(base::kNever);
}

void Scheduler::make_worker(int slot) {
  places_.use(slot + 1);
  const auto at = static_cast<std::size_t>(slot);
  const std::uint64_t seed = options_.seed * 1'000'003 + static_cast<std::uint64_t>(slot);
  workers_[at] = std::make_unique<Worker>(*this, slot, seed, StealOrder{slot, options_.max_workers, cpus_, topology_});
}

void Scheduler::work(int slot) {
  running_here = this;
  // Refused when the process's CPUs were changed since: it then runs where it may, only less near.
  if (!cpus_.empty()) pin_this_thread(cpus_[static_cast<std::size_t>(slot)]);
  worker(slot).loop();
}

void Scheduler::ensure_started() {
  if (!started()) start();
}

void Scheduler::start() {
  if (options_.is_virtual || stopping()) return;
  crew_.start();
  started_.store(true, base::release);  // [S3] release: the threads exist. Pairs with [S1].
}

void Scheduler::resize(int workers) {
  if (workers < 1 || workers > options_.max_workers) {
    throw std::invalid_argument{
        "tailrace: resize(workers) takes 1 to max_workers = " + std::to_string(options_.max_workers) + ", got " +
        std::to_string(workers) + "; for more make the scheduler with a larger max_workers"};
  }
  if (crew_.resize(workers)) wake_surplus();
}

// Who sleeps must see that it is one too many.
void Scheduler::wake_surplus() noexcept {
  for (int slot = worker_count(); slot < crew_.slots(); ++slot) idle_.notify_one(slot);
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

Submitted Scheduler::inject(const queue::Cell& cell) {
  if (stopping()) return Submitted::kStopped;
  ensure_started();
  if (!injection_.push(cell, idle_)) return Submitted::kFull;
  if (must_sweep()) run_own_closures();
  return Submitted::kQueued;
}

// The workers may have looked for the last time before our push. Only what this thread submitted: it may hold a lock that
// another's closure wants.
void Scheduler::run_own_closures() {
  Injection::Batch cells;
  while (const std::size_t n = injection_.claim_own(cells)) {
    for (std::size_t k = 0; k < n; ++k) Injection::run(cells[k], nullptr);
    // [M1] release: what the closures did is seen by who drains. Pairs with [M2].
    ran_by_submitters_.fetch_add(n, base::release);
  }
}

bool Scheduler::all_injected_ran() const {
  std::uint64_t ran = ran_by_submitters_.load(base::acquire);  // [M2] acquire: pairs with [M1]
  for (const auto& worker : workers()) ran += worker->counters_.injected.read_published();
  return ran >= injection_.pushed();
}

void Scheduler::drain() {
  if (of_this_thread() == this) {
    throw std::logic_error{"tailrace: drain() inside a body would wait for that body; call it from outside"};
  }
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

// The virtual runtime: one thread, seeded choices.

bool Scheduler::drive_once() {
  TAILRACE_CHECK(options_.is_virtual, "only a virtual scheduler is driven");
  const std::int64_t now = clock_->now_ns();
  if (watch_.timers().fire_due(now) > 0) return true;
  if (Item* item = virtual_bag_.take_blocking()) return item->run(nullptr), true;
  const auto n = static_cast<std::uint32_t>(worker_count());
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
  for (const auto& worker : workers()) {
    if (worker->virtual_busy_until_ns > now) next = std::min(next, worker->virtual_busy_until_ns);
  }
  return next;
}

}  // namespace tailrace::sched
