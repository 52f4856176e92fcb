// worker_blocking.cpp -- a body that waits: what the worker has claimed goes to others, and another runs in its place;
// and the worker that is one too many afterwards.
#include "tailrace/sched/scheduler.hpp"
#include "tailrace/sched/worker.hpp"

namespace tailrace::sched {

namespace {

// A claimed closure that others may take after all. It runs in any case, also when a stop ends it: its submitter was told.
struct Boxed final : Item {
  explicit Boxed(const queue::Cell& from) : cell{from} {}
  void run(Worker* worker) override {
    Injection::run(cell, worker);
    worker->counters().boxed.add();
    worker->counters().injected.publish(1);
    delete this;
  }
  void complete(base::Outcome) override {
    Injection::run(cell, nullptr);
    delete this;
  }
  void drop() override { delete this; }

  const queue::Cell cell;
};

}  // namespace

void Worker::begin_blocking() {
  found_work();  // who sleeps inside a body looks for nothing
  open_body();
  if (batch_next_ < batch_end_) {
    const std::size_t end = batch_end_;
    batch_end_ = batch_next_;  // ours no more
    // Oldest first, as thieves take them.
    for (std::size_t k = batch_next_; k < end; ++k) deque_.push(new Boxed{batch_[k]});
  }
  replace();
  if (!scheduler_.options_.is_virtual && sees_work()) scheduler_.idle_.notify();
}

void Worker::end_blocking() { end_replacement(); }

void Worker::replace() { scheduler_.crew_.begin_blocking(); }

void Worker::end_replacement() {
  if (scheduler_.crew_.end_blocking()) scheduler_.wake_surplus();
}

// One too many: gives back what others could be waiting for, sleeps as a spare, and comes back as if newly started.
void Worker::retire() {
  if (has_affine()) return;  // nobody else may do it
  place_.run_own();          // left by the last body: nobody else sees it
  leave_gate();
  if (!scheduler_.crew_.retire(id_)) return;
  // Who skipped a wake because of us, as a searcher or as one awake, did so before this look (docs/idle.md).
  if (searching_) scheduler_.idle_.end_search();
  searching_ = false;
  search_ends_ns_ = 0;
  if (sees_work()) scheduler_.idle_.notify();
  // Pushed before the resize was seen: else who pushed recalls us.
  if (has_affine()) scheduler_.crew_.recall(id_);
  end_busy();
  scheduler_.crew_.wait_as_spare(id_);
  begin_busy();
}

void Worker::begin_busy() noexcept {
  busy_from_items_.store(items_run(), base::relaxed);  // relaxed: for the report of a stop
  busy_since_ns_.store(base::monotonic_ns(), base::relaxed);  // relaxed: a statistic
}

void Worker::end_busy() noexcept {
  const std::int64_t since = busy_since_ns_.load(base::relaxed);  // relaxed: ours
  busy_since_ns_.store(base::kNever, base::relaxed);              // relaxed: a statistic
  counters_.busy_ns.add(static_cast<std::uint64_t>(base::monotonic_ns() - since));
}

// The worker's first body since it woke began then; of a later one no more is known than that it runs now.
std::int64_t Worker::body_since_ns() const noexcept {
  const std::int64_t since = busy_since_ns_.load(base::relaxed);  // relaxed (both): for a report
  return busy_from_items_.load(base::relaxed) == items_run() ? since : base::kNever;
}

}  // namespace tailrace::sched
