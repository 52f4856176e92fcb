// open_lane.hpp -- items that any worker may run, in three priority classes.
//
// What      A push stack for each class. A worker takes a whole stack over into its own deque of that class, from which
//           the others steal one by one.
// Why       A push is one exchange on one line; the order of classes is seen by all, not only by the worker that has them.
// Threads   push, used, sees, take_pushed: any thread. take: the worker whose deque it is.
// ABA       As push_stack.hpp and steal_deque.hpp.
// Checked   tests/model/open_lane.cpp (a producer, two workers, with mutants), tests/stress/lanes.cpp.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "tailrace/base/atomic.hpp"
#include "tailrace/base/cache_line.hpp"
#include "tailrace/queue/push_stack.hpp"

namespace tailrace::sched {

template <class Node, std::size_t kClasses, class Atomics = base::StdAtomics>
class BasicOpenLane {
  template <class U>
  using atomic = typename Atomics::template atomic<U>;

 public:
  void push(Node* node, std::size_t c) noexcept {
    // [N1] seq_cst: before the push, so that who must see the item, wherever it is by then, sees this ([N2]).
    if (!used_.load(base::relaxed)) used_.store(true, base::seq_cst);  // relaxed: once true it stays
    pushed_[c].fetch_add(1, base::relaxed);  // relaxed: a statistic
    stacks_[c].push(node);
  }

  // Whether anything was ever pushed: who has no open items pays for one look.
  // [N2] seq_cst: a parker asks after it has shown itself as a sleeper; pairs with [N1].
  bool used() const noexcept { return used_.load(base::seq_cst); }

  // The oldest of what lies in `mine`, else of what was pushed; the rest of that then lies in `mine`, and `*shared` says
  // that there was some: the caller notifies, as it has published it anew.
  template <class Deque>
  Node* take(std::size_t c, Deque& mine, bool* shared) {
    Node* node = nullptr;
    if (mine.pop(node)) return node;
    node = stacks_[c].take_all();
    if (node == nullptr) return nullptr;
    // The newest goes in first: the owner takes the oldest next, thieves the newest.
    while (Node* older = node->next) {  // read before the push: a thief may have run and freed the node after it
      mine.push(node);
      node = older;
      *shared = true;
    }
    return node;
  }

  bool sees(std::size_t c) const noexcept { return !stacks_[c].empty(); }

  // For who ends the lane: everything that lies in no worker's deque. An item that no worker takes is then forgotten.
  Node* take_pushed(std::size_t c) noexcept { return stacks_[c].take_all(); }

  void forget(std::size_t c) noexcept { pushed_[c].fetch_sub(1, base::relaxed); }  // relaxed: as above

  std::uint64_t pushed(std::size_t c) const noexcept { return pushed_[c].load(base::relaxed); }  // relaxed: as above

 private:
  alignas(base::kCacheLine) atomic<bool> used_{false};  // read by every look for work, written once
  alignas(base::kCacheLine) std::array<queue::PushStack<Node, Atomics>, kClasses> stacks_{};
  std::array<atomic<std::uint64_t>, kClasses> pushed_{};
};

}  // namespace tailrace::sched
