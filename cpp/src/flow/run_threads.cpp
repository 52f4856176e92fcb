// The two ways in which native bodies are run: by one thread from front to back, and by several.
#include <utility>

#include "tailrace/base/check.hpp"
#include "tailrace/base/clock.hpp"
#include "tailrace/flow/run.hpp"

namespace tailrace::flow {

namespace {

constexpr NodeIndex kLookEvery = 64;        // nodes between two questions to the host, which reads the clock
constexpr std::uint32_t kRemindEvery = 64;  // joins between two invitations while nobody helps
constexpr std::uint32_t kWorthHelp = 4;     // ready nodes in hand
constexpr std::int64_t kAskNs = 10'000;     // how long a participant looks for work before it goes

// The part that the body which runs on this thread has spawned, until its participant takes it up.
thread_local Run* spawned = nullptr;

Run& take_spawned() {
  TAILRACE_CHECK(spawned != nullptr,
                 "a body returned kDeferred without Run::spawn; nodes that are finished elsewhere "
                 "are added as Kind::kLaunch");
  return *std::exchange(spawned, nullptr);
}

}  // namespace

bool Run::work_alone(sched::Worker* worker) {
  const NodeIndex n = plan_.size();
  const Node* const nodes = &plan_.node(0);
  const NodeIndex look_every = minds_time ? 1 : kLookEvery;
  for (NodeIndex i = 0;;) {
    if (minds_time) host_.mind_time(*this);
    const NodeIndex stop = n - i > look_every ? i + look_every : n;
    for (; i < stop; ++i) {
      if (!is_open()) return all_fired(worker), true;  // the rest is skipped; no counter has moved
      const base::Verdict verdict = nodes[i].body(*this, i, nodes[i].arg, worker);
      if (verdict == base::Verdict::kDone) continue;
      if (verdict == base::Verdict::kFailed) {
        settle(base::Outcome::kFailed);
        continue;
      }
      share_from(i + 1, i, worker);
      run_part(worker, Show::kAtOnce);
      return false;
    }
    if (i == n) return all_fired(worker), true;
    if (i % kLookEvery == 0 && host_.wants_help(*this, i)) return share_from(i, kNoNode, worker), false;
  }
}

// The nodes before `next` have fired, but for `outstanding`, which will. Counts what the others still wait for.
void Run::share_from(NodeIndex next, NodeIndex outstanding, sched::Worker* worker) {
  const NodeIndex n = plan_.size();
  for (NodeIndex i = next; i < n; ++i) counters_[i].arm(0);
  std::uint32_t sinks = 0;
  const auto expect = [&](NodeIndex before) {
    const Node& node = plan_.node(before);
    for (std::uint32_t e = 0; e < node.successor_count; ++e) counters_[plan_.successors(node)[e]].expect_one_more();
    if (node.successor_count == 0) ++sinks;
  };
  if (outstanding != kNoNode) expect(outstanding);
  for (NodeIndex i = next; i < n; ++i) expect(i);
  sinks_left_.store(sinks, base::relaxed);  // relaxed: published with the counters by [J4]
  shared_.set();
  std::uint32_t ready = 0;
  NodeIndex top = kNoNode;
  // Backwards: who takes a node of these meanwhile counts down at nodes behind it only.
  for (NodeIndex i = n; i-- > next;) {
    if (!counters_[i].expects_none()) continue;
    counters_[i].arm(plan_.node(i).predecessor_count);
    give_back(i);
    top = i;
    ++ready;
  }
  if (ready > 1) host_.offered(*this, top, ready - 1, worker);
}

void Run::work_shared(NodeIndex index, sched::Worker* worker, Show show_when) {
  const bool at_once = show_when == Show::kAtOnce;
  Hand hand;
  std::uint32_t joins = 0;
  for (;;) {
    if (index == kNoNode && (index = take_into(hand, worker, show_when)) == kNoNode) return;
    const Node* node = &plan_.node(index);
    bool finished = run_body(index, *node, hand, worker, show_when);
    for (; node->chained && finished; ++node) {
      if (!hand.empty() && asking_.load(base::relaxed) > 0) show(hand, hand.count() / 2, worker);
      finished = run_body(++index, node[1], hand, worker, show_when);
    }
    if (!finished) {
      index = kNoNode;
      continue;
    }
    if (node->successor_count == 0) {
      ++hand.sinks;
    } else {
      fire_into(hand, *node, worker);
    }
    index = kNoNode;
    if (hand.empty()) continue;
    if (at_once && ranks_) {
      if (hand.count() > 1 || !ranked_.empty()) show(hand, 0, worker);  // the most urgent of all comes next
    } else if (at_once) {
      if (hand.count() > 1) show(hand, 1, worker);
    } else if (asking_.load(base::relaxed) > 0) {
      if (!has_ready() && hand.count() > 1) show(hand, hand.count() / 2, worker);
    } else if (hand.count() >= kWorthHelp && joins++ % kRemindEvery == 0) {
      host_.offered(*this, kNoNode, hand.count(), worker);
    }
    if (!hand.empty()) index = hand.pop();
  }
}

// True when the node is finished; else a part of it goes on, and will finish it.
bool Run::run_body(NodeIndex index, const Node& node, Hand& hand, sched::Worker* worker, Show show_when) {
  if (minds_time) host_.mind_time(*this);
  if (!is_open()) return true;
  const base::Verdict verdict = node.body(*this, index, node.arg, worker);
  if (verdict == base::Verdict::kDone) return true;
  if (verdict == base::Verdict::kFailed) return settle(base::Outcome::kFailed), true;
  if (!hand.empty()) show(hand, 0, worker);  // nothing may wait in our hand while we are at the part
  run_part(worker, show_when);
  return false;
}

void Run::fire_into(Hand& hand, const Node& node, sched::Worker* worker) {
  const NodeIndex* successors = plan_.successors(node);
  for (std::uint32_t i = node.successor_count; i-- > 0;) {  // backwards: the most urgent comes off the hand first
    const NodeIndex next = successors[i];
    const std::uint32_t predecessors = plan_.node(next).predecessor_count;
    if (predecessors != 1 && !counters_[next].arrive(predecessors)) continue;
    if (hand.full()) show(hand, Hand::kCapacity / 2, worker);
    hand.push(next);
  }
}

// Moves all but the newest `keep` from the hand to where everybody takes from; the oldest of them goes first.
void Run::show(Hand& hand, std::uint32_t keep, sched::Worker* worker) {
  const std::uint32_t count = hand.count() - keep;
  NodeIndex top = kNoNode;
  NodeIndex bottom = kNoNode;
  hand.give_oldest(keep, [&](NodeIndex node) {
    if (top == kNoNode) top = node;
    if (ranks_) return ranked_.put(plan_.rank(node));
    if (bottom != kNoNode) ready_.link(bottom, node);
    bottom = node;
  });
  if (!ranks_) ready_.push(top, bottom);
  host_.offered(*this, top, count, worker);
}

// With an empty hand: takes off the sinks that were fired, then looks for ready nodes, and waits a little for some.
NodeIndex Run::take_into(Hand& hand, sched::Worker* worker, Show show_when) {
  do {
    if (!hand.empty()) return hand.pop();
    if (hand.sinks != 0) take_off_sinks(std::exchange(hand.sinks, 0), worker);
    if (ranks_) {
      if (const NodeIndex node = pop_ready(); node != kNoNode) return node;
      continue;
    }
    const std::uint32_t most = show_when == Show::kAtOnce ? 1 : Hand::kCapacity / 2;
    if (hand.refill(most, [&](NodeIndex* out, std::uint32_t n) { return ready_.pop_some(out, n); })) return hand.pop();
  } while (wait_for_ready());
  return kNoNode;
}

bool Run::wait_for_ready() noexcept {
  if (sinks_left_.load(base::relaxed) == 0) return false;  // relaxed, both: who misses it waits a little for nothing
  asking_.fetch_add(1, base::relaxed);
  const std::int64_t until = base::monotonic_ns() + kAskNs;
  bool found = false;
  do {
    for (int i = 0; i < 16; ++i) base::pause();
    found = has_ready();
  } while (!found && sinks_left_.load(base::relaxed) != 0 && base::monotonic_ns() < until);
  asking_.fetch_sub(1, base::relaxed);  // relaxed, both: see the field
  return found;
}

base::Verdict Run::spawn(NodeIndex node, const Plan& plan) {
  Run* part = host_.spawn(*this, node, plan);
  return part == nullptr ? base::Verdict::kFailed : defer_to(*part);
}

base::Verdict Run::defer_to(Run& part) {
  TAILRACE_CHECK(spawned == nullptr, "a body spawns one part and returns what Run::spawn returned");
  spawned = &part;
  return base::Verdict::kDeferred;
}

void Run::run_part(sched::Worker* worker, Show show_when) {
  Run& part = take_spawned();
  part.retain();
  part.work_shared(part.begin(worker), worker, show_when);
  part.release();
}

// For hosts that take step by step: all of the part's first nodes go to its stack.
void Run::offer_part(sched::Worker* worker) {
  if (spawned == nullptr) return;
  Run& part = take_spawned();
  part.retain();
  const NodeIndex first = part.begin(worker);
  if (first != kNoNode) part.offer(first, worker);
  part.release();
}

}  // namespace tailrace::flow
