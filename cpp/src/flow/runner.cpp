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

constexpr std::uint64_t kSampleEvery = 64;
constexpr std::uint64_t kFirstSamples = 4;  // the first is mostly the cost of waking, which is not the nodes'
constexpr std::int64_t kLookAgainNs = 1'000'000;

}  // namespace

Runner::Runner(const Plan& plan, sched::Scheduler& scheduler, RunnerOptions options)
    : plan_{plan}, scheduler_{scheduler}, options_{options}, random_{scheduler.options().seed} {
  if (plan.has_launches()) {
    throw std::invalid_argument{
        "tailrace: Runner runs Kind::kInline nodes only; for a body that is finished elsewhere derive a flow::Host"};
  }
  if (!is_virtual()) return;
  by_rank = options.order != Order::kOldestFirst;
  oldest_first = options.order == Order::kOldestFirst;
  const bool drawn = options.order == Order::kSeeded || !plan.is_weighted();
  if (drawn && !oldest_first) random = &random_;
}

Runner::~Runner() {
  base::atomic<std::uint32_t> nobody{0};
  while (!all_home()) {
    for (Block* block : all_) {
      TAILRACE_CHECK(!block->held.load(base::relaxed),
                     "a Runner outlives the handles of its runs");  // relaxed: a check
    }
    if (!scheduler_.stopping()) scheduler_.drain();  // invitations to runs that have ended without them
    const std::int64_t next = is_virtual() ? scheduler_.next_event_ns() : base::kNever;
    if (next != base::kNever) {
      scheduler_.virtual_clock().advance_to(next);
    } else if (!all_home()) {
      base::StdAtomics::park(nobody, 0, kLookAgainNs);  // a late step, or a deadline that just fires
    }
  }
  for (Block* block : all_) give_block(block);
}

Runner::Block* Runner::make_block(const Plan& plan, Block* parent, NodeIndex parent_node) {
  const std::size_t bytes = sizeof(Block) + Run::memory_bytes(plan);
  void* memory = options_.source->take(bytes);
  return new (memory) Block{plan, *this, static_cast<std::byte*>(memory) + sizeof(Block), bytes, parent, parent_node};
}

void Runner::give_block(Block* block) noexcept {
  const std::size_t bytes = block->bytes;
  block->~Block();
  options_.source->give(block, bytes);
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
  all_.reserve(all_.size() + 1);
  free_.reserve(all_.capacity());  // so that giving back never throws
  all_.push_back(make_block(plan_, nullptr, kNoNode));
  return all_.back();
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
  Block* block = nullptr;
  try {
    block = take();
  } catch (...) {  // no memory for one more run: as if it had not been asked for
    if (options_.max_in_flight != 0) in_flight_.fetch_sub(1, base::relaxed);
    throw;
  }
  block->run.request = request;
  block->on_settled = options.on_settled;
  block->on_fired = options.on_fired;
  block->deadline_ns = base::kNever;
  if (options.deadline_s < 9e9) block->deadline_ns = base::after_s(scheduler_.clock().now_ns(), options.deadline_s);
  block->timed = false;
  block->run.minds_time = block->deadline_ns != base::kNever;
  block->gone.rearm();
  block->ends.store(0, base::relaxed);  // relaxed: published with the run
  const std::uint64_t runs = block->runs.read();
  block->is_sampled = runs < kFirstSamples || runs % kSampleEvery == 0;
  block->runs.add();
  return block;
}

base::Outcome Runner::run_now(void* request, const RunOptions& options) {
  Block* block = admit(request, options);
  if (block == nullptr) return base::Outcome::kRejected;
  Run& run = block->run;
  block->started = false;
  run.open(2);  // ours, and the one that `fired` gives back
  begin(*block, nullptr);
  if (!run.ending.announced()) help_until(*block, run.ending, base::kNever);
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
  block->begun.store(false, base::relaxed);  // relaxed (both): the submit below, or the return, publishes it
  block->held.store(true, base::relaxed);
  run.open(3);  // the handle's, the one that `fired` gives back, and the queue's
  if (block->deadline_ns != base::kNever) {
    run.retain();  // the timer's
    block->timed = true;
    scheduler_.arm(block->timer, block->deadline_ns);
  }
  scheduler_.submit([block](sched::Worker* worker) {
    // [B4] acq_rel: one of the two. What was set up is ordered by the queue, or by the handle.
    if (!block->begun.exchange(true, base::acq_rel)) block->runner.begin(*block, worker);
    block->run.release();
  });
  return RunHandle{run};
}

void Runner::launch(Run&, NodeIndex) { TAILRACE_CHECK(false, "Runner has no node to launch"); }

void Runner::settled(Run& run, base::Outcome outcome) {
  Block& block = Block::of(run);
  if (block.timed && scheduler_.cancel(block.timer)) run.release();
  block.ended[static_cast<std::size_t>(outcome)].add();
  if (block.on_settled != nullptr) block.on_settled(run.request, outcome);
  if (outcome != base::Outcome::kOk) end_with_both(block);
}

void Runner::fired(Run& run) {
  Block& block = Block::of(run);
  if (block.parent != nullptr) return run.release();
  if (run.ending.outcome() == base::Outcome::kOk) return end(block);  // settled just before, by this thread
  end_with_both(block);
}

// Who settles a run otherwise than well may still use its request when the last step ends: the second of them ends it.
void Runner::end_with_both(Block& block) {
  // [B5] acq_rel: what the first of them did with the request comes before the second gives it up. Pairs with itself.
  if (block.ends.fetch_add(1, base::acq_rel) == 1) end(block);
}

void Runner::end(Block& block) {
  if (block.on_fired != nullptr) block.on_fired(block.run.request);
  if (options_.max_in_flight != 0) in_flight_.fetch_sub(1, base::relaxed);  // relaxed: as in admit
  // Nobody waits for the end of a run that was helped through to `ok`.
  if (block.started || block.run.ending.outcome() != base::Outcome::kOk) block.gone.announce();
  block.run.release();
}

void Runner::released(Run& run) {
  Block* block = &Block::of(run);
  if (Block* parent = block->parent) {
    give_block(block);
    return parent->run.release();
  }
  if (block->is_sampled) learn(*block);
  Block* nobody = nullptr;
  // [B2] release: the next user may have the block. Failure: the place is taken, relaxed.
  if (spare_.compare_exchange_strong(nobody, block, base::release, base::relaxed)) return;
  const std::lock_guard lock{mutex_};
  free_.push_back(block);
}

Run* Runner::spawn(Run& run, NodeIndex node, const Plan& plan) {
  Block& parent = Block::of(run);
  if (plan.has_launches() || parent.nesting == kMaxNesting) return nullptr;
  Block* part = make_block(plan, &parent, node);
  run.retain();  // until the part is released
  part->run.request = run.request;
  part->run.minds_time = run.minds_time;
  part->run.open(1);
  return &part->run;
}

base::Verdict Runner::spawn_each(Run& run, NodeIndex node, std::uint32_t n, Body body, void* arg) {
  if (n == 0) return base::Verdict::kDone;
  PlanBuilder builder;
  for (std::uint32_t i = 0; i < n; ++i) builder.add(body, arg);
  auto plan = std::make_unique<const Plan>(builder.compile());
  Run* part = Block::of(run).runner.spawn(run, node, *plan);
  if (part == nullptr) return base::Verdict::kFailed;
  Block::of(*part).own_plan = std::move(plan);
  return run.defer_to(*part);
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
