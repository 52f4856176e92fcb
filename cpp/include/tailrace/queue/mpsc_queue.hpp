// mpsc_queue.hpp -- many threads put items in, one at a time takes them out, in order.
//
// What      A push stack that the consumer empties in one exchange and turns round: first in, first out.
// Why       Pushers are lock-free, the consumer pays one exchange for all that has arrived meanwhile.
// Threads   push, empty, take_pushed: any thread. pop, turned_round: whoever has the consumer's right (a gate permit
//           passes it on).
// ABA       As push_stack.hpp: nobody pops a single node.
// Checked   tests/model/mpsc_queue.cpp (two pushers and a consumer, with a mutant), tests/stress/queues.cpp.
#pragma once

#include "tailrace/base/cache_line.hpp"
#include "tailrace/queue/push_stack.hpp"

namespace tailrace::queue {

// Node as for PushStack.
template <class Node, class Atomics = base::StdAtomics>
class MpscQueue {
 public:
  void push(Node* node) noexcept { stack_.push(node); }

  // The oldest item, or nullptr when there was none.
  Node* pop() noexcept {
    if (front_ == nullptr) front_ = oldest_first(stack_.take_all());
    Node* oldest = front_;
    if (oldest != nullptr) front_ = oldest->next;
    return oldest;
  }

  // Any thread: what was pushed and never turned round, the newest first. For who ends a queue whose consumer is busy.
  Node* take_pushed() noexcept { return stack_.take_all(); }

  // Consumer only: are there items that were taken off the stack and not yet popped?
  bool turned_round() const noexcept { return front_ != nullptr; }

  // Any thread: nothing newly pushed, as a parker asks (docs/idle.md).
  bool empty() const noexcept { return stack_.empty(); }

 private:
  alignas(base::kCacheLine) PushStack<Node, Atomics> stack_;  // pushers write it
  alignas(base::kCacheLine) Node* front_ = nullptr;           // the consumer's own
};

}  // namespace tailrace::queue
