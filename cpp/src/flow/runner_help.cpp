// When a run by Runner stays with one thread, and when others are asked to help.
#include "tailrace/flow/runner_block.hpp"

namespace tailrace::flow {

namespace {

// A wake costs the waker 6 us and the worker 22 us (bench/native/wake). To share costs some 10 ns a node
// (bench/native/random_dag, row shared); long bodies are shown at once, whatever that costs.
constexpr std::int64_t kWakePaysNs = 10'000;
constexpr std::int64_t kSharePaysNs = 50'000;
constexpr std::int64_t kFineNs = 50;
constexpr std::int64_t kLongNs = 2'000;
constexpr NodeIndex kLargePlan = 64;  // nodes; the clock is read for such plans only

}  // namespace

bool Runner::begins_alone(Block& block) const noexcept {
  const std::int64_t node_ns = node_ns_.load(base::relaxed);  // relaxed: an estimate
  const bool is_short = options_.help == Help::kLearnt && node_ns >= 0 && node_ns < kLongNs;
  block.show = is_short || options_.help == Help::kWhenAsked ? Show::kWhenAsked : Show::kAtOnce;
  block.node_ns = node_ns;
  if (!options_.invite_workers) return !block.started;  // else who waits may help
  if (options_.help != Help::kLearnt || node_ns < 0) return false;
  // To share short bodies costs as much as they do, and would be learnt as theirs: samples are taken alone.
  if (block.is_sampled && is_short) return true;
  return node_ns < kFineNs || node_ns * plan_.size() < kSharePaysNs;
}

// Runs what can be run now, as the one who begins.
void Runner::begin(Block& block, sched::Worker* worker) {
  Run& run = block.run;
  if (is_virtual()) {
    const NodeIndex first = run.begin(worker);
    if (first != kNoNode) run.offer(first, worker);
    return;
  }
  const bool alone = begins_alone(block);
  if (block.is_sampled || plan_.size() > kLargePlan) block.began_ns = base::monotonic_ns();
  if (!alone) {
    run.work_shared(run.begin(worker), worker, block.show);
  } else if (!run.work_alone(worker)) {
    work(block, worker);
  }
  // relaxed: read when nobody else is left
  if (block.is_sampled) block.busy_ns.fetch_add(base::monotonic_ns() - block.began_ns, base::relaxed);
}

// Takes part in a run that is shared; then in what it is a part of.
void Runner::work(Block& block, sched::Worker* worker) {
  for (Block* one = &block; one != nullptr; one = one->parent) {
    if (one->run.is_shared()) one->run.work_shared(kNoNode, worker, one->show);
  }
}

// Asked by a thread that has the run to itself: the bodies may be longer than they were.
bool Runner::wants_help(Run& run, NodeIndex done) {
  Block& block = Block::of(run);
  if (!options_.invite_workers || options_.help != Help::kLearnt || block.parent != nullptr ||
      plan_.size() <= kLargePlan)
    return false;
  const std::int64_t mean_ns = (base::monotonic_ns() - block.began_ns) / done;
  if (mean_ns < (block.is_sampled ? kLongNs : 2 * kFineNs) || mean_ns * (plan_.size() - done) < 2 * kSharePaysNs)
    return false;
  block.show = mean_ns < kLongNs ? Show::kWhenAsked : Show::kAtOnce;
  block.node_ns = mean_ns;
  return true;
}

// Nodes that others could run: a waiter that sleeps is the first to be asked, then a worker.
void Runner::offered(Run& run, NodeIndex, std::uint32_t count, sched::Worker*) {
  Block& block = Block::of(run);
  if (is_virtual()) return invite_virtual(block);
  if (!options_.invite_workers) return;
  // Unknown cost: call for help at once, so that a coarse sibling never waits. Then only when it pays.
  if (options_.help == Help::kLearnt && block.node_ns >= 0 && block.node_ns * count < kWakePaysNs &&
      block.show == Show::kAtOnce) {
    return;
  }
  // relaxed: helpers that are there and ask need no invitation
  if (block.show == Show::kWhenAsked && block.helpers.load(base::relaxed) > 0) return;
  Block& root = block.root();
  // relaxed, both: a hint; who sleeps and is not asked is woken at the end
  if (root.helper_sleeps.load(base::relaxed) && root.helper_sleeps.exchange(false, base::relaxed)) {
    root.run.ending.nudge();
  } else {
    invite(block);
  }
}

// Asks one worker to join; who comes asks the next while there is more than it takes itself.
void Runner::invite(Block& block) {
  // [B3] acq_rel: at most one invitation is under way. Pairs with the store below.
  if (block.invited.exchange(true, base::acq_rel)) return;
  block.run.retain();
  scheduler_.submit([&block](sched::Worker* worker) {
    block.invited.store(false, base::release);  // [B3] release: as above
    if (worker != nullptr) {
      const bool sampled = block.parent == nullptr && block.is_sampled;
      const std::int64_t came = sampled ? base::monotonic_ns() : 0;
      block.helpers.fetch_add(1, base::relaxed);  // relaxed: see the field
      if (block.show == Show::kAtOnce && block.run.has_ready()) block.runner.invite(block);
      block.runner.work(block, worker);
      block.helpers.fetch_sub(1, base::relaxed);  // relaxed: as above
      // relaxed: read when nobody else is left
      if (sampled) block.busy_ns.fetch_add(base::monotonic_ns() - came, base::relaxed);
    }
    block.run.release();
  });
}

// Called when nobody else has the block.
void Runner::learn(Block& block) noexcept {
  const std::int64_t busy_ns = block.busy_ns.exchange(0, base::relaxed);  // relaxed: [K2] has ordered it
  if (busy_ns == 0 || block.run.ending.outcome() != base::Outcome::kOk) return;
  const std::int64_t mean = busy_ns / plan_.size();
  const std::int64_t old = node_ns_.load(base::relaxed);  // relaxed (both): an estimate
  const std::int64_t quarter = old + (mean - old) / 4;
  node_ns_.store(old < 0 || mean < quarter ? mean : quarter, base::relaxed);
}

// Before a body of a run with a deadline: nobody may have been there to fire its timer, or none was armed.
void Runner::mind_time(Run& run) {
  Block& root = Block::of(run).root();
  if (root.deadline_ns <= scheduler_.clock().now_ns()) root.run.settle(base::Outcome::kTimedOut);
}

// Runs what is ready of this run, and of no other, until `end` is announced; false when `until_ns` came first.
bool Runner::help_until(Block& block, Ending<>& end, std::int64_t until_ns) {
  Run& run = block.run;
  while (!end.announced()) {
    if (!is_virtual() && run.is_shared() && run.has_ready()) {
      work(block, nullptr);
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
    if (is_virtual()) {
      drive(until);
      continue;
    }
    block.helper_sleeps.store(&end == &run.ending, base::relaxed);  // relaxed: a hint, see offered
    end.wait_once(left);
  }
  return true;
}

}  // namespace tailrace::flow
