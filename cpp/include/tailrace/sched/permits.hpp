// permits.hpp -- brings what waits and who may carry it together, without a lock.
//
// What      Two queues, of nodes that wait and of carriers that are idle, and a count of turns. Whoever adds to either
//           queue takes a turn; who takes the first one pairs for all that come meanwhile.
// Why       With n carriers at most n nodes are inside. Pushers and finishers do one addition each and never wait: a
//           thread that is descheduled while it pairs delays what came after it, and stops nobody.
// Threads   push, give_back, pair: any thread.
// ABA       As push_stack.hpp.
// Source    Delegation: Oyama, Taura, Yonezawa 1999, "Executing parallel programs with synchronization bottlenecks
//           efficiently".
// Checked   tests/model/permits.cpp (pushers and carriers, with mutants), tests/stress/lanes.cpp.
#pragma once

#include <cstdint>
#include <utility>

#include "tailrace/base/atomic.hpp"
#include "tailrace/base/cache_line.hpp"
#include "tailrace/queue/mpsc_queue.hpp"

namespace tailrace::sched {

// Both need a field `next` of their own type.
template <class Node, class Carrier, class Atomics = base::StdAtomics>
class BasicPermits {
 public:
  // Each is followed by `pair`.
  void push(Node* node) noexcept { waiting_.push(node); }
  void give_back(Carrier* carrier) noexcept { idle_.push(carrier); }

  // Pairs all that is there, now or by the thread that is at it. `serve` has dispatch(carrier, node) for each pair, and
  // ends(node): whether it ends the node instead, which then needs no carrier.
  template <class Serve>
  void pair(Serve&& serve) {
    // [H1] acq_rel: who gets the first turn has all that the last one did; who does not leaves what it added.
    if (turns_.fetch_add(1, base::acq_rel) == 0) go_on(serve);
  }

  // A node for a carrier that has finished one and may go on at once; null when none waits or another thread pairs.
  template <class Serve>
  Node* next(Serve&& serve) {
    std::uint32_t none = 0;
    // [H2] acquire: always a first turn; it adds nothing that another would take over, so it releases nothing. Failure:
    // another thread pairs, and nothing is read: relaxed.
    if (!turns_.compare_exchange_strong(none, 1, base::acquire, base::relaxed)) return nullptr;
    Node* node = take_node();
    if (node != nullptr && serve.ends(node)) node = nullptr;
    go_on(serve);
    return node;
  }

 private:
  Node* take_node() noexcept {
    Node* node = std::exchange(spare_node_, nullptr);
    return node != nullptr ? node : waiting_.pop();
  }

  template <class Serve>
  void go_on(Serve& serve) {
    for (std::uint32_t seen = 1;;) {
      while (Node* node = take_node()) {
        if (serve.ends(node)) continue;
        Carrier* carrier = idle_.pop();
        if (carrier == nullptr) {
          spare_node_ = node;  // the oldest: it goes first when a carrier comes back
          break;
        }
        serve.dispatch(carrier, node);
      }
      // [H1] acq_rel: hands the queues on, or takes what came meanwhile.
      const std::uint32_t before = turns_.fetch_sub(seen, base::acq_rel);
      if (before == seen) return;
      seen = before - seen;
    }
  }

  queue::MpscQueue<Node, Atomics> waiting_;
  queue::MpscQueue<Carrier, Atomics> idle_;
  alignas(base::kCacheLine) typename Atomics::template atomic<std::uint32_t> turns_{0};
  Node* spare_node_ = nullptr;  // belongs to who has the turn
};

}  // namespace tailrace::sched
