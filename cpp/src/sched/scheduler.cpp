#include "tailrace/sched/scheduler.hpp"

#include <algorithm>
#include <stdexcept>
#include <system_error>
#include <utility>

#include "tailrace/base/check.hpp"

namespace tailrace::sched {

namespace {

constexpr std::int64_t kWatchTickNs = 5'000'000;  // CPython's switch interval: a waiter is let in as often
constexpr int kQuietTicks = 4;

std::uint64_t next_serial() {
  static base::atomic<std::uint64_t> serial{0};
  return serial.fetch_add(1, base::relaxed) + 1;  // relaxed: only uniqueness matters
}

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
      serial_{next_serial()},
      clock_{options_.is_virtual ? static_cast<const base::Clock*>(&virtual_clock_) : &base::RealClock::instance()},
      keeper_{options_.keeper != nullptr ? options_.keeper : &null_keeper_},
      idle_{options_.workers},
      blocking_{options_.name, options_.max_blocking, keeper_->thread_hooks()},
      virtual_random_{options_.seed} {
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
  const Gate::Ticket ticket = lane_.gate.try_acquire();
  if (ticket == 0) return nullptr;
  Item* item = must_sweep() ? nullptr : lane_.pop();
  lane_.note_leftover();
  lane_.gate.release(ticket);
  if (must_sweep()) {
    sweep();
  } else if (lane_.has_items()) {
    idle_.notify();  // pushed while the permit was held
  }
  return item;
}

void Scheduler::push_blocking(Item* item) {
  if (options_.is_virtual) return virtual_blocking_.push_back(item);
  if (!blocking_.submit(item)) item->complete(base::Outcome::kCancelled);
}

bool Scheduler::inject(const queue::Cell& cell) {
  Producer* producer = my_producer();
  if (producer == nullptr || stopping()) return false;
  // Counted before it is pushed: were it run before it is counted, drain would take it for somebody else's.
  producer->pushed.add();
  if (!producer->lane.try_push(cell)) {
    producer->pushed.add(~std::uint64_t{0});  // minus one
    return false;
  }
  ensure_started();
  idle_.notify();
  return true;
}

Scheduler::Producer* Scheduler::my_producer() {
  struct Mine {
    std::vector<std::pair<std::uint64_t, std::shared_ptr<Producer>>> lanes;
    ~Mine() {
      // [P2] release: this thread's last push happens before the next owner's first. Pairs with [P3].
      for (auto& [serial, producer] : lanes) producer->owned.store(false, base::release);
    }
  };
  thread_local std::uint64_t last_serial = 0;
  thread_local Producer* last = nullptr;
  if (last_serial == serial_) return last;

  thread_local Mine mine;
  Producer* found = nullptr;
  for (auto& [serial, producer] : mine.lanes) {
    if (serial == serial_) found = producer.get();
  }
  if (found == nullptr) {
    const std::lock_guard lock{producers_mutex_};
    std::shared_ptr<Producer> producer;
    for (auto& orphan : producer_owners_) {
      // [P3] acquire: pairs with [P2].
      if (!orphan->owned.load(base::acquire)) producer = orphan;
    }
    if (producer == nullptr) {
      if (producer_owners_.size() == kMaxProducers) return nullptr;
      producer = std::make_shared<Producer>();
      producers_[producer_owners_.size()].store(producer.get(), base::relaxed);  // relaxed: published by the next line
      producer_owners_.push_back(producer);
      // [P4] release: the slot is filled before it is counted. Pairs with [P1].
      producer_count_.store(static_cast<std::uint32_t>(producer_owners_.size()), base::release);
    }
    producer->owned.store(true, base::relaxed);  // relaxed: the mutex orders it
    mine.lanes.emplace_back(serial_, producer);
    found = producer.get();
  }
  last_serial = serial_;
  last = found;
  return found;
}

bool Scheduler::sees_injected() const {
  const std::uint32_t lanes = producer_count_.load(base::acquire);  // [P1] acquire: pairs with [P4]
  for (std::uint32_t i = 0; i < lanes; ++i) {
    if (!producers_[i].load(base::relaxed)->lane.empty()) return true;  // relaxed: ordered by [P1]
  }
  return false;
}

bool Scheduler::all_injected_ran() const {
  std::uint64_t ran = 0;
  std::uint64_t pushed = 0;
  for (const auto& worker : workers_) ran += worker->counters_.injected.read_published();
  const std::uint32_t lanes = producer_count_.load(base::acquire);  // [P1] acquire: pairs with [P4]
  for (std::uint32_t i = 0; i < lanes; ++i) {
    pushed += producers_[i].load(base::relaxed)->pushed.read();  // relaxed: ordered by [P1]
  }
  return ran >= pushed;
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
  for (Item* item : std::exchange(virtual_bag_, {})) item->complete(base::Outcome::kCancelled);
  for (Item* item : std::exchange(virtual_blocking_, {})) item->complete(base::Outcome::kCancelled);
  blocking_.stop_begin(cancel_blocking);
  idle_.notify_all();
  wake_watch();
}

bool Scheduler::stop_wait(std::int64_t deadline_ns) {
  std::vector<Thread> threads;
  {
    const std::lock_guard lock{life_mutex_};
    threads.swap(threads_);
    if (std::exchange(watch_made_, false)) threads.push_back(std::move(watch_));
  }
  const bool blocking_ended = blocking_.stop_wait(deadline_ns);
  std::erase_if(threads, [deadline_ns](Thread& thread) { return thread.join_until(deadline_ns); });
  const std::lock_guard lock{life_mutex_};
  // Who is late still uses this scheduler: kept, so that a later call, or the destructor, waits for it.
  for (Thread& thread : threads) threads_.push_back(std::move(thread));
  return blocking_ended && threads.empty();
}

void Scheduler::arm(Timer& timer, std::int64_t deadline_ns) {
  if (timers_.arm(timer, deadline_ns) && !options_.is_virtual) wake_watch();
}

// A worker has entered the gate: somebody must notice if it never comes out of a body that was thought short.
void Scheduler::keep_watch() {
  // [V1] seq_cst: after the permit was taken ([G1]); pairs with [V2]: we see the watch asleep, or it sees the permit.
  if (!watching_.load(base::seq_cst) && !watching_.exchange(true, base::seq_cst)) wake_watch();
}

void Scheduler::wake_watch() {
  {
    const std::lock_guard lock{life_mutex_};
    if (!watch_made_) {
      if (stopping()) return;
      try {
        watch_ = Thread{options_.name + "-watch", [this] { watch_loop(); }};
      } catch (const std::system_error&) {
        watching_.store(false, base::relaxed);  // relaxed: the next timer or worker tries again
        return;
      }
      watch_made_ = true;
    }
  }
  watch_word_.fetch_add(1, base::release);  // [V3] release: what there is to see. Pairs with [V4].
  base::StdAtomics::unpark(watch_word_, 1);
}

// The spare thread: fires timers, and lets others in when a body that was thought short is not. Never runs steps.
void Scheduler::watch_loop() {
  const ThreadHooks hooks = keeper_->thread_hooks();
  if (hooks.on_start) hooks.on_start();
  std::uint64_t last_closed = 0;
  int quiet = 0;
  for (;;) {
    const std::uint32_t word = watch_word_.load(base::acquire);  // [V4] acquire: pairs with [V3]
    if (stopping()) break;
    timers_.fire_due(clock_->now_ns());
    if (watching_.load(base::relaxed)) {  // relaxed: only this thread clears it
      const std::uint64_t closed = lane_.gate.closed_body();
      if (closed != 0 && closed == last_closed && lane_.gate.force_open(closed) && lane_.has_items()) idle_.notify();
      last_closed = closed;
      quiet = lane_.gate.can_acquire() ? quiet + 1 : 0;
      if (quiet > kQuietTicks) {
        quiet = 0;
        watching_.store(false, base::seq_cst);  // [V2] seq_cst: and then look at the permit once more ([G4])
        if (!lane_.gate.can_acquire()) watching_.store(true, base::relaxed);  // relaxed: as above
      }
    }
    const std::int64_t next = timers_.next_deadline_ns();
    std::int64_t wait = next == base::kNever ? -1 : std::max<std::int64_t>(next - clock_->now_ns(), 0);
    if (watching_.load(base::relaxed) && (wait < 0 || wait > kWatchTickNs)) wait = kWatchTickNs;  // relaxed: as above
    base::StdAtomics::park(watch_word_, word, wait);
  }
  if (hooks.on_stop) hooks.on_stop();
}

// The virtual runtime: one thread, seeded choices.

Item* Scheduler::take_virtual() {
  while (Item* item = lane_.pop()) virtual_bag_.push_back(item);
  if (virtual_bag_.empty()) return nullptr;
  auto best = Priority::kLow;
  for (const Item* item : virtual_bag_) best = std::min(best, item->priority);
  std::vector<std::size_t> places;
  for (std::size_t i = 0; i < virtual_bag_.size(); ++i) {
    if (virtual_bag_[i]->priority == best) places.push_back(i);
  }
  const std::size_t place = places[virtual_random_.below(static_cast<std::uint32_t>(places.size()))];
  Item* item = virtual_bag_[place];
  virtual_bag_[place] = virtual_bag_.back();
  virtual_bag_.pop_back();
  return item;
}

bool Scheduler::drive_once() {
  TAILRACE_CHECK(options_.is_virtual, "only a virtual scheduler is driven");
  const std::int64_t now = clock_->now_ns();
  if (timers_.fire_due(now) > 0) return true;
  if (!virtual_blocking_.empty()) {
    const std::size_t place = virtual_random_.below(static_cast<std::uint32_t>(virtual_blocking_.size()));
    std::swap(virtual_blocking_[place], virtual_blocking_.back());
    Item* item = virtual_blocking_.back();
    virtual_blocking_.pop_back();
    item->run(nullptr);
    return true;
  }
  const auto n = static_cast<std::uint32_t>(workers_.size());
  const std::uint32_t first = virtual_random_.below(n);
  for (std::uint32_t i = 0; i < n; ++i) {
    Worker& worker = *workers_[(first + i) % n];
    if (worker.virtual_busy_until_ns <= now && worker.step() == Progress::kRan) return true;
  }
  return false;
}

std::int64_t Scheduler::next_event_ns() const {
  std::int64_t next = timers_.next_deadline_ns();
  const std::int64_t now = clock_->now_ns();
  for (const auto& worker : workers_) {
    if (worker->virtual_busy_until_ns > now) next = std::min(next, worker->virtual_busy_until_ns);
  }
  return next;
}

}  // namespace tailrace::sched
