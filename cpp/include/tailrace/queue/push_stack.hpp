// push_stack.hpp -- many threads put items in; anybody takes all that is there, in one exchange.
//
// What      A stack that pushers grow one node at a time and a taker empties as a whole.
// Why       Lock-free for the pusher whatever a paused thread does: no link is ever half made. Takers need no right.
// Threads   push, take_all, empty: any thread.
// ABA       Cannot happen: nobody pops a single node, so no compare trusts an old `next`.
// Source    Treiber 1986, "Systems Programming: Coping with Parallelism" (the push).
// Checked   tests/model/mpsc_queue.cpp and tests/model/open_lane.cpp (with mutants), tests/stress/queues.cpp.
#pragma once

#include "tailrace/base/atomic.hpp"

namespace tailrace::queue {

// Node needs a field `Node* next`, which belongs to the queue while the node is in it. The head is one word; whoever has
// the stack says what shares its cache line.
template <class Node, class Atomics = base::StdAtomics>
class PushStack {
 public:
  void push(Node* node) noexcept {
    Node* seen = head_.load(base::relaxed);  // relaxed: a guess; the exchange re-reads it
    do {
      node->next = seen;
      // [Q1] seq_cst: releases the node to [Q2], and a pusher that looks for sleepers next must not do so before
      // this is visible (docs/idle.md). A failed attempt publishes nothing: relaxed.
    } while (!head_.compare_exchange_weak(seen, node, base::seq_cst, base::relaxed));
  }

  // Everything that is there, the newest first, linked by `next`; nullptr when there is nothing.
  Node* take_all() noexcept {
    if (empty()) return nullptr;  // so that a look at an empty stack takes its line from nobody
    // [Q2] acquire: pairs with every [Q1] in the chain, as each push continues the release sequence before it.
    // release: a pusher on top of the emptied stack sees nothing of ours, so none is needed.
    return head_.exchange(nullptr, base::acquire);
  }

  // Any thread: nothing newly pushed. [Q3] seq_cst: a parker asks after it has shown itself (docs/idle.md).
  bool empty() const noexcept { return head_.load(base::seq_cst) == nullptr; }

 private:
  typename Atomics::template atomic<Node*> head_{nullptr};
};

// Turns round what take_all has returned. `kNext` is the link.
template <class Node, auto kNext = &Node::next>
Node* oldest_first(Node* newest) noexcept {
  Node* oldest = nullptr;
  while (newest != nullptr) {
    Node* older = newest->*kNext;
    newest->*kNext = oldest;
    oldest = newest;
    newest = older;
  }
  return oldest;
}

}  // namespace tailrace::queue
