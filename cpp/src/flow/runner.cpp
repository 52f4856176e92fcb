#include "tailrace/flow/runner.hpp"

#include <algorithm>
#include <new>
#include <stdexcept>
#include <string>

#include "tailrace/base/check.hpp"
#include "tailrace/base/clock.hpp"
#include "tailrace/flow/runner_block.hpp"

namespace tailrace::flow {

namespace {

constexpr std::int64_t kWakePaysNs = 10'000;  // a wake costs the waker 6 us and the worker 22 us (bench/native/wake)
constexpr std::uint64_t kSampleEvery = 64;
constexpr std::int64_t kLookAgainNs = 1'000'000;

}  // namespace

Runner::Runner(const Plan& plan, sched::Scheduler& scheduler, RunnerOptions options)
    : plan_{plan}, scheduler_{scheduler}, options_{options}, random_{scheduler.options().seed} {
  for (NodeIndex i = 0; i < plan.size(); ++i) {
    if (plan.node(i).launch) throw std::invalid_argument{"tailrace: Runner runs inline nodes only"};
  }
  if (scheduler.options().is_virtual) random = &random_;
}

Runner::~Runner() {
  base::atomic<std::uint32_t> nobody{0};
  while (!all_home()) {
    for (Block* block : all_) {
      TAILRACE_CHECK(!block->held.load(base::relaxed),
                     "a Runner outlives the handles of its runs");  // relaxed: a check
    }
    if (!scheduler_.stopping()) scheduler_.drain();  // invitations to runs that have ended without them
    if (!all_home()) base::StdAtomics::park(nobody, 0, kLookAgainNs);  // a late step, or a deadline that just fires
  }
  for (Block* block : all_) {
    block->~Block();
    options_.source->give(block, sizeof(Block) + Run::memory_bytes(plan_));
  }
}

bool Runner::all_home() const {
  const std::lock_guard lock{mutex_};
  // [B1] acquire: the last user is done with the block. Pairs with [B2].
  return all_.size() == free_.size() + (spare_.load(base::acquire) != nullptr ? 1 : 0);
}

void* Runner::check(void* request, const void* type) const {
  if (plan_.request() == nullptr || plan_.request() == type) return request;
  throw std::invalid_argument{request == nullptr
                                  ? "tailrace: the steps of this plan take a request: run(request), start(request)"
                                  : "tailrace: the steps of this plan take another type of request"};
}

Runner::Block* Runner::take() {
  // [B1] acquire: the last user is done with the block. Pairs with [B2].
  if (Block* spare = spare_.exchange(nullptr, base::acquire)) return spare;
  const std::lock_guard lock{mutex_};
  if (!free_.empty()) {
    Block* block = free_.back();
    free_.pop_back();
    return block;
  }
  void* memory = options_.source->take(sizeof(Block) + Run::memory_bytes(plan_));
  auto* block = new (memory) Block{*this, static_cast<std::byte*>(memory) + sizeof(Block)};
  all_.push_back(block);
  return block;
}

// A block for a new run, which nobody else sees yet; null when the run is rejected.
Runner::Block* Runner::admit(void* request, const RunOptions& options) {
  if (!(options.deadline_s >= 0)) {
    throw std::invalid_argument{"tailrace: deadline_s must be 0 or more seconds from the start, got " +
                                std::to_string(options.deadline_s)};
  }
  bool full = scheduler_.stopping();
  if (!full && options_.max_in_flight != 0) {
    // relaxed (both): a count; what a run does is ordered by its block
    full = in_flight_.fetch_add(1, base::relaxed) >= options_.max_in_flight;
    if (full) in_flight_.fetch_sub(1, base::relaxed);
  }
  if (full) {
    rejected_.fetch_add(1, base::relaxed);  // relaxed: a statistic
    return nullptr;
  }
  Block* block = take();
  block->run.request = request;
  block->on_settled = options.on_settled;
  block->on_fired = options.on_fired;
  block->deadline_ns = base::kNever;
  if (options.deadline_s < 9e9) block->deadline_ns = base::after_s(scheduler_.clock().now_ns(), options.deadline_s);
  block->timed = false;
  block->gone.rearm();
  return block;
}

base::Outcome Runner::run_now(void* request, const RunOptions& options) {
  Block* block = admit(request, options);
  if (block == nullptr) return base::Outcome::kRejected;
  Run& run = block->run;
  block->started = false;
  const bool sample = block->runs.read() % kSampleEvery == 0;
  block->runs.add();
  run.open(2);  // ours, and the one that `fired` gives back
  const std::int64_t started = sample ? scheduler_.clock().now_ns() : 0;
  work(*block, run.begin(nullptr), nullptr);
  if (!run.ending.announced()) help_until(*block, run.ending, base::kNever);
  if (sample) {
    const std::int64_t mean = (scheduler_.clock().now_ns() - started) / plan_.size();
    const std::int64_t old = node_ns_.load(base::relaxed);  // relaxed (both): an estimate
    node_ns_.store(old < 0 ? mean : old + (mean - old) / 4, base::relaxed);
  }
  const base::Outcome outcome = run.ending.outcome();
  if (outcome != base::Outcome::kOk) {  // steps that had begun elsewhere may still use the request
    help_until(*block, block->gone, base::kNever);
    if (options.error != nullptr) *options.error = run.error();
  }
  run.release();
  return outcome;
}

RunHandle Runner::start_run(void* request, const RunOptions& options) {
  Block* block = admit(request, options);
  if (block == nullptr) return {};
  Run& run = block->run;
  block->started = true;
  block->runs.add();
  block->begun.store(false, base::relaxed);  // relaxed (both): the submit below, or the return, publishes it
  block->held.store(true, base::relaxed);
  run.open(3);  // the handle's, the one that `fired` gives back, and the queue's
  if (block->deadline_ns != base::kNever) {
    run.retain();  // the timer's
    block->timed = true;
    scheduler_.arm(block->timer, block->deadline_ns);
  }
  scheduler_.submit([block](sched::Worker* worker) {
    block->runner.begin(*block, worker);
    block->run.release();
  });
  return RunHandle{run};
}

// The first one to come begins the run: a worker, or whoever waits for it.
void Runner::begin(Block& block, sched::Worker* worker) {
  // [B4] acq_rel: one of the two. What was set up is ordered by the queue, or by the handle.
  if (!block.begun.exchange(true, base::acq_rel)) work(block, block.run.begin(worker), worker);
}

void Runner::work(Block& block, NodeIndex node, sched::Worker* worker) {
  Run& run = block.run;
  if (random != nullptr) {  // virtual runtime: a step at a time, so that the seed decides who goes on
    if (node == kNoNode) node = run.take_ready();
    if (node != kNoNode && block.deadline_ns <= scheduler_.clock().now_ns()) run.settle(base::Outcome::kTimedOut);
    if (node != kNoNode) node = run.step(node, worker);
    if (node != kNoNode) run.offer(node, worker);
    if (run.has_ready()) invite(block);
  } else if (block.deadline_ns == base::kNever) {
    run.work(node, worker);
  } else {
    run.work_while(node, worker, [&](NodeIndex) {
      if (scheduler_.clock().now_ns() >= block.deadline_ns) run.settle(base::Outcome::kTimedOut);
      return true;  // a node of a settled run is skipped, and fires
    });
  }
}

// Runs what is ready of this run, and of no other, until `end` is announced; false when `until_ns` came first.
bool Runner::help_until(Block& block, Ending<>& end, std::int64_t until_ns) {
  Run& run = block.run;
  while (!end.announced()) {
    if (run.has_ready()) {
      work(block, kNoNode, nullptr);
      continue;
    }
    std::int64_t until = until_ns;
    if (run.ending.is_open() && block.deadline_ns < until) until = block.deadline_ns;
    std::int64_t left = -1;
    if (until != base::kNever) {
      left = until - scheduler_.clock().now_ns();
      if (left <= 0) {
        if (until == until_ns) return false;
        run.settle(base::Outcome::kTimedOut);
        continue;
      }
    }
    if (random != nullptr) {
      drive(until);
    } else {
      end.wait_once(left);
    }
  }
  return true;
}

// Virtual runtime: whoever waits is the one thread there is.
void Runner::drive(std::int64_t until_ns) {
  if (scheduler_.drive_once()) return;
  const std::int64_t next = std::min(scheduler_.next_event_ns(), until_ns);
  if (next == base::kNever) throw std::logic_error{"tailrace: stalled: nothing can run, and no timer is armed"};
  scheduler_.virtual_clock().advance_to(next);
}

void Runner::launch(Run&, NodeIndex) { TAILRACE_CHECK(false, "Runner has no node to launch"); }

void Runner::offered(Run& run, NodeIndex, std::uint32_t count, sched::Worker*) {
  const std::int64_t node_ns = node_ns_.load(base::relaxed);  // relaxed: an estimate
  // Unknown cost: call for help at once, so that a coarse sibling never waits. Then only when it pays.
  if (!options_.invite_workers || (node_ns >= 0 && node_ns * count < kWakePaysNs)) return;
  invite(Block::of(run));
}

// Asks one worker to join; who comes asks the next while there is more than it takes itself.
void Runner::invite(Block& block) {
  // [B3] acq_rel: at most one invitation is under way. Pairs with the store below.
  if (block.invited.exchange(true, base::acq_rel)) return;
  block.run.retain();
  scheduler_.submit([this, &block](sched::Worker* worker) {
    block.invited.store(false, base::release);  // [B3] release: as above
    if (worker != nullptr && block.run.has_ready()) {
      if (node_ns_.load(base::relaxed) >= kWakePaysNs) invite(block);  // relaxed: an estimate
      work(block, kNoNode, worker);
    }
    block.run.release();
  });
}

void Runner::settled(Run& run, base::Outcome outcome) {
  Block& block = Block::of(run);
  if (block.timed && scheduler_.cancel(block.timer)) run.release();
  block.ended[static_cast<std::size_t>(outcome)].add();
  if (block.on_settled != nullptr) block.on_settled(run.request, outcome);
}

void Runner::fired(Run& run) {
  Block& block = Block::of(run);
  if (block.on_fired != nullptr) block.on_fired(run.request);
  if (options_.max_in_flight != 0) in_flight_.fetch_sub(1, base::relaxed);  // relaxed: as in admit
  // Nobody waits for the end of a run that was helped through to `ok`.
  if (block.started || run.ending.outcome() != base::Outcome::kOk) block.gone.announce();
  run.release();
}

void Runner::released(Run& run) {
  Block* block = &Block::of(run);
  Block* nobody = nullptr;
  // [B2] release: the next user may have the block. Failure: the place is taken, relaxed.
  if (spare_.compare_exchange_strong(nobody, block, base::release, base::relaxed)) return;
  const std::lock_guard lock{mutex_};
  free_.push_back(block);
}

RunnerStatistics Runner::statistics() const {
  using base::Outcome;
  RunnerStatistics sum;
  const std::lock_guard lock{mutex_};
  for (const Block* block : all_) {
    const auto ended = [block](Outcome how) { return block->ended[static_cast<std::size_t>(how)].read(); };
    const std::uint64_t ok = ended(Outcome::kOk), failed = ended(Outcome::kFailed);
    const std::uint64_t cancelled = ended(Outcome::kCancelled), timed_out = ended(Outcome::kTimedOut);
    const std::uint64_t runs = block->runs.read();  // after its ends, so that no run ends before it is counted
    sum.ok += ok, sum.failed += failed, sum.cancelled += cancelled, sum.timed_out += timed_out;
    sum.submitted += runs;
    sum.in_flight += runs - (ok + failed + cancelled + timed_out);
  }
  sum.rejected = rejected_.load(base::relaxed);  // relaxed: a statistic
  sum.submitted += sum.rejected;
  sum.blocks = all_.size();
  return sum;
}

}  // namespace tailrace::flow
