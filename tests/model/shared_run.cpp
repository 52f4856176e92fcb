// shared_run.cpp -- a run that one thread had to itself is shared; nodes taken by rank and by the batch; the last to let go.
#include <array>

#include "prove.hpp"
#include "tailrace/flow/ending.hpp"
#include "tailrace/flow/join.hpp"
#include "tailrace/flow/ranked_set.hpp"

namespace {

using namespace tailrace::model;
using tailrace::base::Outcome;
using Stack = tailrace::flow::ReadyStack<ModelAtomics>;
using Ending = tailrace::flow::Ending<ModelAtomics>;

// Run::work_alone, share_from and work_shared on the plan 0 -> {1, 2} -> 3: the owner runs node 0, counts what the others
// wait for, and shares; a waiter that saw the mark, and one that was invited, take part. `show` is Runner's plain field.
enum class Bug : std::uint8_t { kNone, kSharesBeforeItCounts, kNoMark };

template <Bug kBug>
struct Switched {
  static constexpr int kThreads = 3;
  static constexpr std::uint32_t kNone = Stack::kNone;
  std::array<Stack::Link, 4> links{};
  Stack ready{links.data()};
  tailrace::flow::JoinCounter<ModelAtomics> join;
  tailrace::flow::SharedMark<ModelAtomics> mark;
  Ending ending;
  Atomic<int> sinks{0};
  Var<int> show{0};
  std::array<Var<int>, 4> values{};
  std::array<int, 4> fired{};

  Switched() { join.arm(2); }

  void count() {
    join.arm(0);
    for (int i = 0; i < 2; ++i) join.expect_one_more();
    sinks.store(1, std::memory_order_relaxed);
  }
  void work() {
    for (std::uint32_t node = ready.pop(); node != kNone;) {
      check(++fired[node] == 1, "a node fired twice");
      values[node] = node == 3 ? values[1] + values[2] : values[0] + 1;
      if (node == 3) {
        if (sinks.fetch_sub(1, std::memory_order_acq_rel) == 1 && ending.fix(Outcome::kOk)) ending.announce();
        node = kNone;
      } else {
        node = join.arrive(2) ? 3 : kNone;
      }
      if (node == kNone) node = ready.pop();
    }
  }
  void thread(int i) {
    if (i == 1) {
      values[0] = 1;
      ++fired[0];
      show = 1;
      if (kBug != Bug::kSharesBeforeItCounts) count();
      mark.set();
      ready.push(2, 2);
      ready.push(1, 1);
      if (kBug == Bug::kSharesBeforeItCounts) count();
      work();
      while (!ending.announced()) ending.wait_once(-1);
      check(values[3] == 4, "the result is wrong or old");
    } else {
      if (kBug != Bug::kNoMark && !mark.is_set()) return;
      check(show == 1, "what was decided before the run was shared is not seen");
      work();
    }
  }
  void finally() {
    for (const int f : fired) check(f == 1, "a node never fired");
    check(!join.arrive(2) && join.arrive(2), "the counter was not armed again");
  }
};

// Three hold a reference; each leaves something behind, one makes another holder first.
struct Held {
  static constexpr int kThreads = 3;
  tailrace::flow::References<ModelAtomics> references;
  std::array<Var<int>, 4> left{};
  int last = 0;
  Held() { references.set(3); }
  void let_go() {
    if (!references.release()) return;
    check(++last == 1, "two were the last");
    check(left[1] + left[2] + left[3] == 6, "the last does not see what another did");
  }
  void thread(int i) {
    if (i == 2) {
      references.retain();
      let_go();
    }
    left[static_cast<std::size_t>(i)] = i;
    let_go();
  }
  void finally() { check(last == 1, "nobody was the last"); }
};

// One puts two ranks of one word, another one of a second word; a taker clears marks between them.
struct Ranked {
  static constexpr int kThreads = 3;
  using Set = tailrace::flow::RankedSet<ModelAtomics>;
  std::array<Set::Word, 3> words{};
  Set set{words.data(), 128};
  std::array<Var<int>, 128> results{};
  std::array<int, 128> balance{};

  void put(std::uint32_t rank) {
    results[rank] = static_cast<int>(rank) + 10;
    ++balance[rank];
    set.put(rank);
  }
  bool take() {
    const std::uint32_t rank = set.take();
    if (rank == Set::kNone) return false;
    check(--balance[rank] == 0, "a node was taken that was not there");
    check(results[rank] == static_cast<int>(rank) + 10, "what made the node ready is not seen");
    return true;
  }
  Ranked() { put(5); }
  void thread(int i) {
    if (i == 1) {
      put(3);
      take();
    } else if (i == 2) {
      put(70);
    } else {
      take();
      take();
    }
  }
  void finally() {
    while (take()) {
    }
    for (const int b : balance) check(b == 0, "a node was lost: its word has no mark");
  }
};

// A taker of two at once, one who takes a node and puts it back, and one who puts a chain.
struct Batched {
  static constexpr int kThreads = 3;
  std::array<Stack::Link, 4> links{};
  Stack ready{links.data()};
  std::array<Var<int>, 4> results{};
  std::array<int, 4> balance{};

  void made(std::uint32_t node) {
    results[node] = static_cast<int>(node) + 10;
    ++balance[node];
  }
  void took(std::uint32_t node) {
    check(node < 4 && --balance[node] == 0, "a node was taken that was not there");
    check(results[node] == static_cast<int>(node) + 10, "what made the node ready is not seen");
  }
  Batched() {
    for (const std::uint32_t node : {0u, 1u}) {
      made(node);
      ready.push(node, node);
    }
  }
  void thread(int i) {
    if (i == 1) {
      std::array<std::uint32_t, 2> out{};
      const std::uint32_t n = ready.pop_some(out.data(), 2);
      for (std::uint32_t k = 0; k < n; ++k) took(out[k]);
    } else if (i == 2) {
      const std::uint32_t node = ready.pop();
      if (node == Stack::kNone) return;
      took(node);
      made(node);
      ready.push(node, node);
    } else {
      made(2);
      made(3);
      ready.link(3, 2);
      ready.push(3, 2);
    }
  }
  void finally() {
    for (std::uint32_t node = ready.pop(); node != Stack::kNone; node = ready.pop()) took(node);
    for (const int b : balance) check(b == 0, "a node was lost");
  }
};

// A waiter that is nudged to help, and the end of the run.
struct Nudged {
  static constexpr int kThreads = 3;
  Ending ending;
  Var<int> result{0};
  void thread(int i) {
    if (i == 1) {
      check(ending.fix(Outcome::kOk), "somebody else ended the run");
      result = 1;
      ending.announce();
    } else if (i == 2) {
      ending.nudge();
      ending.nudge();
    } else {
      while (!ending.announced()) ending.wait_once(-1);
      check(result == 1 && ending.outcome() == Outcome::kOk, "the waiter does not see the end");
    }
  }
  void finally() { check(ending.outcome() == Outcome::kOk, "the outcome was lost"); }
};

TEST(a_run_that_one_thread_had_alone_is_shared_in_the_middle) {
  prove<Switched<Bug::kNone>>("owner, two that join", {.preemptions = 3, .stale_loads = 1});
  prove<Switched<Bug::kNone>>("owner, two that join", {.random = 50'000});
}

TEST(the_last_to_let_go_sees_what_all_others_did) {
  prove<Held>("three holders", {.preemptions = 4, .stale_loads = 2});
}

TEST(a_ranked_node_goes_to_one_taker_and_none_is_lost_when_marks_are_cleared) {
  prove<Ranked>("two that put, two that take", {.preemptions = 3, .stale_loads = 2});
  prove<Ranked>("two that put, two that take", {.random = 50'000});
}

TEST(nodes_taken_by_the_batch_are_taken_once) {
  prove<Batched>("batch, single, chain", {.preemptions = 3, .stale_loads = 2});
}

TEST(a_nudged_waiter_still_sees_the_end) { prove<Nudged>("end, nudge, waiter", {.preemptions = 4, .stale_loads = 2}); }

TEST(the_check_of_the_shared_run_catches_its_mutants) {
  const Bounds small{.preemptions = 3, .stale_loads = 2};
  auto weakened = [&](const char* text, Order order) {
    Bounds bounds = small;
    bounds.mutants = {{text, order}};
    return bounds;
  };
  catches<Switched<Bug::kSharesBeforeItCounts>>("the run is shared before its counters fit", small);
  catches<Switched<Bug::kNoMark>>("who joins does not look at the mark", small);
  catches<Switched<Bug::kNone>>("the mark releases nothing",
                                weakened("is_set_.store(true, base::release)", std::memory_order_relaxed));
  catches<Switched<Bug::kNone>>("who joins acquires nothing",
                                weakened("is_set_.load(base::acquire)", std::memory_order_relaxed));
  catches<Held>("who sees one reference left acquires nothing",
                weakened("count_.load(base::acquire) == 1", std::memory_order_relaxed));
  catches<Held>("letting go releases nothing",
                weakened("count_.fetch_sub(1, base::acq_rel)", std::memory_order_acquire));
  catches<Ranked>("a put releases nothing",
                  weakened("leaves_[leaf].fetch_or(bit(rank), base::seq_cst)", std::memory_order_relaxed));
  catches<Ranked>("the look at the mark after a put may be old",
                  weakened("summary.load(base::seq_cst) & bit(leaf)", std::memory_order_relaxed));
  catches<Ranked>("the look at the word after its mark is cleared may be old",
                  weakened("leaves_[leaf].load(base::seq_cst) != 0", std::memory_order_relaxed));
  catches<Ranked>(
      "a taker acquires nothing",
      weakened("leaves_[leaf].fetch_and(~(std::uint64_t{1} << lowest), base::acquire)", std::memory_order_relaxed));
  catches<Batched>("a batch acquires nothing", weakened("seen = head_.load(base::acquire)", std::memory_order_relaxed));
  catches<Nudged>("the announcement is acquire only",
                  weakened("word_.fetch_or(kAnnounced, base::acq_rel)", std::memory_order_acquire));
  catches<Nudged>("a waiter's look at the end is relaxed",
                  weakened("return (word_.load(base::acquire) & kAnnounced)", std::memory_order_relaxed));
}

}  // namespace
