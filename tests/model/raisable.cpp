// raisable.cpp -- a raised item: two entries of it are in two lanes, exactly one taker runs it, the other drops it, and it
// lives until both have come back.
#include "tailrace/sched/raisable.hpp"

#include "prove.hpp"
#include "tailrace/queue/push_stack.hpp"

namespace {

using namespace tailrace::model;

enum class Bug : std::uint8_t { kNone, kLooksThenMarks, kRetainsLate };

struct Entry {
  Var<Entry*> next{nullptr};
};

template <Bug kBug>
struct Raised {
  static constexpr int kThreads = 3;
  tailrace::queue::PushStack<Entry, ModelAtomics> low, high;
  tailrace::sched::BasicClaim<ModelAtomics> claim;
  Atomic<bool> marked{false};
  Atomic<int> references{2};  // the queued entry's and the raiser's
  Var<int> alive{1};
  Entry own, second;
  int ran = 0, dropped = 0, raised = 0;

  Raised() { low.push(&own); }

  bool take() {
    if (kBug != Bug::kLooksThenMarks) return claim.take();
    if (marked.load(std::memory_order_relaxed)) return false;
    marked.store(true, std::memory_order_relaxed);
    return true;
  }
  void give_back() {
    if (references.fetch_sub(1, std::memory_order_acq_rel) == 1) alive = 0;
  }
  void come(Entry* entry) {
    if (entry == nullptr) return;
    check(alive == 1, "the item is gone while an entry of it was queued");
    take() ? ++ran : ++dropped;
    give_back();
  }
  void thread(int i) {
    if (i != 1) return come(i == 2 ? low.take_all() : high.take_all());
    if (!claim.taken() && !marked.load(std::memory_order_relaxed)) {
      raised = 1;
      if (kBug != Bug::kRetainsLate) references.fetch_add(1, std::memory_order_relaxed);
      high.push(&second);
    }
    give_back();
    if (kBug == Bug::kRetainsLate && raised == 1) references.fetch_add(1, std::memory_order_relaxed);
  }
  void finally() {
    come(low.take_all());
    come(high.take_all());
    check(ran == 1, "the item ran twice or never");
    check(dropped == raised, "an entry that lost was not dropped");
    check(alive == 0, "the item was never given back");
  }
};

TEST(a_raised_item_runs_once_and_its_other_entry_is_dropped) {
  prove<Raised<Bug::kNone>>("a raiser and two takers", {.preemptions = 4, .stale_loads = 2});
}

TEST(the_check_of_the_claim_catches_its_mutants) {
  const Bounds small{.preemptions = 3, .stale_loads = 1};
  catches<Raised<Bug::kLooksThenMarks>>("the claim is looked at, then marked", small);
  catches<Raised<Bug::kRetainsLate>>("the entry is pushed before it is counted", small);
}

}  // namespace
