#include "tailrace/flow/runner.hpp"

#include <new>

#include "tailrace/base/check.hpp"
#include "tailrace/base/clock.hpp"

namespace tailrace::flow {

namespace {

constexpr std::int64_t kWakePaysNs = 10'000;  // a wake costs the waker 6 us and the worker 22 us (bench/native/wake)
constexpr std::uint32_t kSampleEvery = 64;

}  // namespace

struct Runner::Block {
  Block(const Plan& plan, Host& host, void* memory) : run{plan, host, memory} {}
  Run run;
  base::atomic<bool> invited{false};
};

Runner::Runner(const Plan& plan, sched::Scheduler& scheduler, base::BlockSource& source)
    : plan_{plan}, scheduler_{scheduler}, source_{source} {
  for (NodeIndex i = 0; i < plan.size(); ++i) {
    if (plan.node(i).launch) throw std::invalid_argument{"tailrace: Runner runs inline nodes only"};
  }
}

Runner::~Runner() {
  for (Block* block : all_) {
    block->~Block();
    source_.give(block, sizeof(Block) + Run::memory_bytes(plan_));
  }
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
  void* memory = source_.take(sizeof(Block) + Run::memory_bytes(plan_));
  auto* block = new (memory) Block{plan_, *this, static_cast<std::byte*>(memory) + sizeof(Block)};
  all_.push_back(block);
  return block;
}

base::Outcome Runner::run() {
  Block& block = *take();
  Run& run = block.run;
  run.open(2);  // ours, and the one that `fired` gives back
  // relaxed: which runs are timed does not matter
  const bool sample = runs_.fetch_add(1, base::relaxed) % kSampleEvery == 0;
  const std::int64_t started = sample ? scheduler_.clock().now_ns() : 0;
  run.work(run.begin(nullptr), nullptr);
  while (!run.ending.announced()) {
    if (run.has_ready()) {
      run.work(kNoNode, nullptr);
    } else {
      run.ending.wait_once(-1);
    }
  }
  if (sample) {
    const std::int64_t mean = (scheduler_.clock().now_ns() - started) / plan_.size();
    const std::int64_t old = node_ns_.load(base::relaxed);  // relaxed (both): an estimate
    node_ns_.store(old < 0 ? mean : old + (mean - old) / 4, base::relaxed);
  }
  const base::Outcome outcome = run.ending.outcome();
  run.release();
  return outcome;
}

void Runner::launch(Run&, NodeIndex) { TAILRACE_CHECK(false, "Runner has no node to launch"); }

void Runner::offered(Run& run, NodeIndex, std::uint32_t count, sched::Worker*) {
  const std::int64_t node_ns = node_ns_.load(base::relaxed);  // relaxed: an estimate
  // Unknown cost: call for help at once, so that a coarse sibling never waits. Then only when it pays.
  if (node_ns >= 0 && node_ns * count < kWakePaysNs) return;
  invite(reinterpret_cast<Block&>(run));
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
      block.run.work(kNoNode, worker);
    }
    block.run.release();
  });
}

void Runner::fired(Run& run) { run.release(); }

void Runner::released(Run& run) {
  auto* block = reinterpret_cast<Block*>(&run);
  Block* nobody = nullptr;
  // [B2] release: the next user may have the block. Failure: the place is taken, relaxed.
  if (spare_.compare_exchange_strong(nobody, block, base::release, base::relaxed)) return;
  const std::lock_guard lock{mutex_};
  free_.push_back(block);
}

}  // namespace tailrace::flow
