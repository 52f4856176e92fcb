#include "tailrace/sched/worker.hpp"

#include <utility>

#include "tailrace/pool/memory_pool.hpp"
#include "tailrace/sched/scheduler.hpp"

namespace tailrace::sched {

namespace {

constexpr std::int64_t kHeadStartNs = 1'000;

}  // namespace

Worker::Worker(Scheduler& scheduler, int id, std::uint64_t seed, StealOrder order)
    : scheduler_{scheduler},
      id_{id},
      name_{scheduler.options().name + "-w" + std::to_string(id)},
      order_{std::move(order)},
      place_{scheduler.places().of_worker(id)},
      random_{seed},
      spin_{scheduler.options().spin_ns, scheduler.options().profile != Profile::kLatency} {}

Progress Worker::step() { return find_work() ? Progress::kRan : Progress::kWouldPark; }

// The policy, in one glance: stay inside the gate while it has work; else what only this worker may do, what is nearly due,
// open items of high priority, the earliest deadline, own work, normal ones, the gated lane, what came from outside, what
// other workers have, what is forked and not yet taken back, and low ones.
bool Worker::find_work() {
  if (place_.has_private()) place_.run_own();  // left by the last body: nobody else sees it
  Item* item = inside_gate_ ? take_gated() : nullptr;
  if (item == nullptr && ++looks_ % kAgeing == 0 && take_aged(item)) return true;
  if (item == nullptr) item = take_affine();
  bool ended = false;  // items that came too late
  if (item == nullptr) item = take_deadline(DeadlineLane::kUrgentNs, &ended);
  if (item == nullptr) item = take_open(Priority::kHigh);
  if (item == nullptr) item = take_deadline(base::kNever, &ended);
  if (item == nullptr && !deque_.pop(item)) item = take_open(Priority::kNormal);
  if (item == nullptr) item = take_gated();
  if (item == nullptr) {
    if (take_injected()) return true;
    item = steal();
  }
  if (item == nullptr && run_forked()) return true;
  if (item == nullptr) item = take_open(Priority::kLow);
  if (item == nullptr) return ended;
  run(item);
  return true;
}

// Every 16th look asks one source out of its turn, each in its turn: so none starves behind one that never runs dry.
bool Worker::take_aged(Item*& item) {
  bool ended = false;
  switch (looks_ / kAgeing % 7) {
    case 0:
      item = take_open(Priority::kLow);
      break;
    case 1:
      item = take_open(Priority::kNormal);
      break;
    case 2:
      item = take_gated();
      break;
    case 3:
      if (!deque_.pop(item)) item = nullptr;
      break;
    case 4:
      item = take_deadline(base::kNever, &ended);
      return ended && item == nullptr;
    case 5:
      item = take_open(Priority::kHigh);
      break;
    default:
      return take_injected();
  }
  return false;
}

void Worker::run(Item* item) {
  found_work();
  doing_.store("an item", base::relaxed);  // relaxed: for the report of a stop
  item->run(this);
  counters_.items.add();
}

Item* Worker::take_gated() {
  GatedLane& lane = scheduler_.lane_;
  if (scheduler_.options_.is_virtual) return scheduler_.virtual_bag_.take_gated(lane);
  if (!inside_gate_) {
    if (!lane.has_items()) return nullptr;
    if ((ticket_ = lane.gate.try_acquire()) == 0) return nullptr;
    scheduler_.watch_.keep();
    found_work();  // before we may block: from here on this worker watches the lane, not the others
    const std::int64_t before = base::monotonic_ns();
    scheduler_.keeper_->enter(*this);
    counters_.gate_entries.add();
    inside_gate_ = true;
    gate_entered_ns_ = base::monotonic_ns();
    busy_since_ns_.store(busy_since_ns_.load(base::relaxed) + gate_entered_ns_ - before,
                         base::relaxed);  // relaxed: own
  } else if (scheduler_.open_.used() && scheduler_.open_.sees(static_cast<std::size_t>(Priority::kHigh))) {
    return leave_gate(), nullptr;
  } else if (ticket_ == 0) {  // taken over during a long body: the other one drains now, unless it is in one too
    if ((ticket_ = lane.gate.try_acquire()) == 0) return leave_gate(), nullptr;
  } else if (base::monotonic_ns() - gate_entered_ns_ > scheduler_.options_.slice_ns) {
    // Let others at what is behind the gate, but keep the permit: to hand it over would move the work to a cold core.
    if (!deque_.empty() || sees_open() || scheduler_.injection_.sees_work()) return leave_gate(), nullptr;
    ticket_ = lane.gate.renew(ticket_);
    scheduler_.keeper_->leave(*this);
    scheduler_.keeper_->enter(*this);
    gate_entered_ns_ = base::monotonic_ns();
  }
  Item* item = scheduler_.stopping() ? nullptr : lane.pop();
  if (item == nullptr) leave_gate();
  return item;
}

void Worker::leave_gate() {
  if (!inside_gate_) return;
  GatedLane& lane = scheduler_.lane_;
  if (ticket_ != 0 && scheduler_.stopping()) {
    while (Item* item = lane.pop()) item->complete(base::Outcome::kCancelled);
  }
  inside_gate_ = false;
  scheduler_.keeper_->leave(*this);
  if (ticket_ == 0) return;
  lane.note_leftover();
  lane.gate.release(ticket_);
  ticket_ = 0;
  if (!lane.has_items()) return;
  // Pushed while the permit was held, so nobody was woken for it; or not swept, as the permit was not to be had.
  if (scheduler_.must_sweep()) {
    scheduler_.keeper_->enter(*this);  // to complete an item takes what the gate is for
    scheduler_.sweep();
    scheduler_.keeper_->leave(*this);
  } else {
    scheduler_.idle_.notify();
  }
}

void Worker::enter_body(bool open) {
  if (ticket_ == 0) return;
  scheduler_.lane_.note_leftover();
  scheduler_.lane_.gate.enter_body(ticket_, open);
  if (open && scheduler_.lane_.has_items()) scheduler_.idle_.notify();
}

bool Worker::leave_body() {
  if (ticket_ != 0 && !scheduler_.lane_.gate.leave_body(ticket_)) ticket_ = 0;
  return ticket_ != 0 || scheduler_.options_.is_virtual;
}

bool Worker::keeps_gate() {
  if (ticket_ == 0 && inside_gate_) ticket_ = scheduler_.lane_.gate.try_acquire();
  return ticket_ != 0 || !inside_gate_;
}

void Worker::open_body() {
  if (ticket_ != 0 && scheduler_.lane_.gate.force_open(Gate::closed_word(ticket_)) && scheduler_.lane_.has_items()) {
    scheduler_.idle_.notify();
  }
}

bool Worker::take_injected() {
  std::size_t claimed = 0;
  if (batch_next_ == batch_end_) {  // else this is a step inside a closure, and the rest of its batch comes first
    claimed = scheduler_.injection_.claim(batch_, scheduler_.worker_count(), random_);
    if (claimed == 0) return false;
    batch_next_ = 0;
    batch_end_ = claimed;
  }
  doing_.store("a closure", base::relaxed);  // relaxed: as above
  std::size_t ran = 0;
  for (; batch_next_ < batch_end_; ++ran) {
    const queue::Cell& next = batch_[batch_next_++];
    if (searching_ && !goes_on_searching(next)) found_work();
    Injection::run(next, this);
  }
  counters_.batches.add();
  counters_.injected.publish(ran);
  // A small batch means that we are on the producer's heels, and each look takes its line away: let it get ahead.
  if (claimed != 0 && claimed < Injection::kBatch / 2) {
    const std::int64_t until = base::monotonic_ns() + kHeadStartNs;
    while (base::monotonic_ns() < until) base::pause();
  }
  return true;
}

// A searcher that runs only what is known to take less time than a wake goes on being one, for as long as a wake would take:
// who submits meanwhile wakes nobody, since this worker looks again before another could run.
bool Worker::goes_on_searching(const queue::Cell& next) {
  if (!Injection::kind(next).is_short) return false;
  const std::int64_t now = base::monotonic_ns();
  if (search_ends_ns_ == 0) search_ends_ns_ = now + scheduler_.idle_.cost().start_ns();
  return now < search_ends_ns_;
}

// The oldest item of another worker's deque, which `deque_of` picks; the nearest victims first.
template <class DequeOf>
Item* Worker::steal_from(DequeOf&& deque_of) {
  const int slots = scheduler_.crew_.slots();
  if (slots == 1) return nullptr;
  Item* item = nullptr;
  std::uint64_t attempts = 0;
  const bool taken = order_.each(slots, random_, [&](int victim) {
    ++attempts;
    auto& deque = deque_of(scheduler_.worker(victim));
    queue::Steal how{};
    while ((how = deque.steal(item)) == queue::Steal::kLost) base::pause();
    return how == queue::Steal::kTaken;
  });
  counters_.steal_attempts.add(attempts);
  if (!taken) return nullptr;  // an attempt that was lost may have left something in `item`
  counters_.steals.add();
  return item;
}

Item* Worker::steal() {
  return steal_from([](Worker& victim) -> auto& { return victim.deque_; });
}

Item* Worker::steal_open(Priority priority) {
  return steal_from([c = static_cast<std::size_t>(priority)](Worker& victim) -> auto& { return victim.open_[c]; });
}

// After all that was submitted a child of a fork-join call, whose forker runs it itself if nobody comes.
bool Worker::run_forked() {
  place_.run_own();
  if (!scheduler_.places_.run_stolen(place_, random_, [this] { found_work(); })) return false;
  counters_.steals.add();
  return true;
}

void Worker::push(Item* item) {
  deque_.push(item);
  if (!scheduler_.options_.is_virtual) scheduler_.idle_.notify();
}

// Open items of any class, wherever they are, items with deadlines, and what only this worker may do.
bool Worker::sees_open() const {
  if (!inbox_.empty() || inbox_.turned_round()) return true;
  if (scheduler_.deadline_.used() && scheduler_.deadline_.sees_work()) return true;
  const OpenLane& lane = scheduler_.open_;
  if (!lane.used()) return false;
  for (std::size_t c = 0; c < kPriorities; ++c) {
    if (lane.sees(c)) return true;
    for (const auto& worker : scheduler_.workers()) {
      if (!worker->open_[c].empty()) return true;
    }
  }
  return false;
}

bool Worker::sees_work() const {
  const GatedLane& lane = scheduler_.lane_;
  if (lane.has_items() && lane.gate.can_acquire()) return true;
  if (scheduler_.injection_.sees_work() || sees_open()) return true;
  for (const auto& worker : scheduler_.workers()) {
    if (!worker->deque_.empty()) return true;
  }
  return scheduler_.places_.sees_work();
}

// Once a searcher has found work: if it was the last, there may be more that nobody was woken for.
void Worker::found_work() {
  if (!searching_) return;
  searching_ = false;
  search_ends_ns_ = 0;
  if (scheduler_.idle_.end_search() && sees_work()) scheduler_.idle_.notify();
}

void Worker::loop() {
  scheduler_.keeper_->worker_started(*this);
  begin_busy();
  for (;;) {
    const bool ran = step() == Progress::kRan;
    if (scheduler_.crew_.is_over(id_)) retire();
    if (ran) continue;
    if (scheduler_.stopping() && is_last_look()) break;
    end_busy();
    wait_for_work();
    begin_busy();
  }
  end_busy();
  leave_gate();
  complete_own();
  scheduler_.keeper_->worker_stopping(*this);
  scheduler_.crew_.left(id_);
}

// After the stop was seen: a submitter that did not see it pushed before, and so is seen now; others take theirs back.
bool Worker::is_last_look() const {
  scheduler_.idle_.order_pushers();
  return !scheduler_.injection_.sees_work();
}

// At the end: what a stop has cut off.
void Worker::complete_own() {
  place_.run_own();
  Item* item = nullptr;
  while (deque_.pop(item)) item->complete(base::Outcome::kCancelled);
  for (std::size_t c = 0; c < kPriorities; ++c) {
    for (; open_[c].pop(item); counters_.open[c].add()) item->complete(base::Outcome::kCancelled);
  }
  for (; (item = inbox_.pop()) != nullptr; counters_.affine.add()) item->complete(base::Outcome::kCancelled);
  if (!scheduler_.options_.is_virtual) return;
  while (take_injected()) {
  }
}

void Worker::wait_for_work() {
  Idle& idle = scheduler_.idle_;
  if (scheduler_.drainers_.load(base::relaxed) > 0) {  // relaxed: a drainer looks again by itself soon
    // [W1] release: what this worker has run is seen by the drainer. Pairs with [W2].
    scheduler_.quiet_epoch_.fetch_add(1, base::release);
    base::StdAtomics::unpark(scheduler_.quiet_epoch_, 1);
  }
  const std::int64_t window_ns = spin_.ns();
  if (!searching_ && window_ns > 0) searching_ = idle.begin_search(scheduler_.worker_count());
  if (searching_) {
    if (window_ns > 0) {
      counters_.spins.add();
      if (look_around(window_ns)) {
        counters_.spins_paid.add();
        return spin_.found();
      }
      spin_.missed();
    }
    searching_ = false;
    search_ends_ns_ = 0;
    idle.end_search();  // whoever relied on us is served by the look below
  }
  pool::flush_remote_frees();  // nobody else would, while this thread sleeps
  idle.prepare_park(id_);
  // A stop, or a resize, that does not wake us, as it saw no bit, is seen here.
  if (sees_work() || scheduler_.must_sweep() || scheduler_.crew_.is_over(id_)) {
    idle.cancel_park(id_);
    searching_ = true;
    return;
  }
  counters_.parks.add();
  const std::int64_t parked_ns = base::monotonic_ns();
  searching_ = idle.park(id_, -1);
  counters_.wakes.add();
  idle.cost().add_start(base::monotonic_ns() - idle.chosen_ns(id_));
  spin_.slept(idle.chosen_ns(id_) - parked_ns);
}

bool Worker::look_around(std::int64_t window_ns) const {
  const std::int64_t until = base::monotonic_ns() + window_ns;
  do {
    for (int i = 0; i < 4; ++i) {
      base::pause();
      if (sees_work() || scheduler_.stopping()) return true;
    }
  } while (base::monotonic_ns() < until);
  return false;
}

}  // namespace tailrace::sched
