// mpsc_queue.hpp -- many threads put items in, one at a time takes them out, in order.
//
// What      A stack that pushers grow and the consumer empties in one exchange and turns round: first in, first out.
// Why       Lock-free for the pusher whatever a paused thread does: no link is ever half made.
// Threads   push, empty: any thread. pop, turned_round: whoever has the consumer's right (a gate permit passes it on).
// ABA       Cannot happen: nobody pops a single node, so no compare trusts an old `next`.
// Source    Treiber 1986, "Systems Programming: Coping with Parallelism" (the push).
// Checked   tests/model/mpsc_queue.cpp (two pushers and a consumer, with a mutant), tests/stress/queues.cpp.
#pragma once

#include "tailrace/base/atomic.hpp"
#include "tailrace/base/cache_line.hpp"

namespace tailrace::queue {

// Node needs a field `Node* next`, which belongs to the queue while the node is in it.
template <class Node, class Atomics = base::StdAtomics>
class MpscQueue {
 public:
  void push(Node* node) noexcept {
    Node* seen = head_.load(base::relaxed);  // relaxed: a guess; the exchange re-reads it
    do {
      node->next = seen;
      // [Q1] seq_cst: releases the node to [Q2], and a pusher that looks for sleepers next must not do so before
      // this is visible (docs/idle.md). A failed attempt publishes nothing: relaxed.
    } while (!head_.compare_exchange_weak(seen, node, base::seq_cst, base::relaxed));
  }

  // The oldest item, or nullptr when there was none.
  Node* pop() noexcept {
    if (front_ == nullptr) {
      // relaxed: a consumer that misses a push made just now finds it on its next visit.
      if (head_.load(base::relaxed) == nullptr) return nullptr;
      // [Q2] acquire: pairs with every [Q1] in the chain, as each push continues the release sequence before it.
      // release: a pusher on top of the emptied stack sees nothing of ours, so none is needed.
      Node* newest = head_.exchange(nullptr, base::acquire);
      while (newest != nullptr) {
        Node* older = newest->next;
        newest->next = front_;
        front_ = newest;
        newest = older;
      }
    }
    Node* oldest = front_;
    if (oldest != nullptr) front_ = oldest->next;
    return oldest;
  }

  // Consumer only: are there items that were taken off the stack and not yet popped?
  bool turned_round() const noexcept { return front_ != nullptr; }

  // Any thread: nothing newly pushed. [Q3] seq_cst: a parker asks after it has shown itself (docs/idle.md).
  bool empty() const noexcept { return head_.load(base::seq_cst) == nullptr; }

 private:
  alignas(base::kCacheLine) typename Atomics::template atomic<Node*> head_{nullptr};  // pushers write it
  alignas(base::kCacheLine) Node* front_ = nullptr;                                   // the consumer's own
};

}  // namespace tailrace::queue
