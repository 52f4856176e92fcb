// edf_shard.hpp -- a heap by deadline that many threads put into and one at a time takes from, without waiting.
//
// What      An inbox (a push stack), a heap, and a guard that is tried and never waited for: whoever has it files the
//           inbox into the heap and takes the earliest.
// Why       A shared heap behind a lock stalls all when its holder is descheduled; here a thief that finds the guard taken
//           goes elsewhere, and the holder looks after what came meanwhile.
// Threads   push, can_take, earliest_ns: any thread. take, take_everything: any thread, without the guard.
// ABA       As push_stack.hpp.
// Checked   tests/model/edf_shard.cpp (a producer, two workers, with mutants), tests/stress/lanes.cpp.
#pragma once

#include <cstdint>
#include <utility>

#include "tailrace/base/atomic.hpp"
#include "tailrace/base/cache_line.hpp"
#include "tailrace/base/clock.hpp"
#include "tailrace/queue/edf_heap.hpp"
#include "tailrace/queue/push_stack.hpp"

namespace tailrace::sched {

// Node has `next` and `deadline_ns`. Heap: the model checker's finds races in it.
template <class Node, class Atomics = base::StdAtomics, class Heap = queue::EdfHeap<Node>>
class BasicEdfShard {
  template <class U>
  using atomic = typename Atomics::template atomic<U>;

 public:
  void push(Node* node) { inbox_.push(node); }

  // Files what has arrived, unless another thread is at it; then its deadlines count in earliest_ns.
  void file() {
    if (inbox_.empty() || !try_guard()) return;
    file_inbox();
    release();
  }

  // The node with the earliest deadline, if that is not after `limit_ns`; null too when another thread has the guard.
  // Nodes whose deadline has passed at `now_ns` are put on `*late` instead, at most kLateAtOnce of them.
  Node* take(std::int64_t now_ns, std::int64_t limit_ns, Node** late) {
    if (!try_guard()) return nullptr;
    file_inbox();
    Node* node = nullptr;
    for (int n = 0; n < kLateAtOnce && heap_.earliest_ns() <= limit_ns && (node = heap_.pop()) != nullptr; ++n) {
      if (node->deadline_ns > now_ns) break;
      node->next = std::exchange(*late, node);
      node = nullptr;
    }
    release();
    return node;
  }

  // All that is there, linked by `next`; what the holder of the guard has is not.
  Node* take_everything() {
    if (!can_take() || !try_guard()) return nullptr;
    file_inbox();
    Node* chain = nullptr;
    while (Node* node = heap_.pop()) node->next = std::exchange(chain, node);
    release();
    return chain;
  }

  // Is there something, and the guard to be had? Who has pushed, and who has let the guard go, asks and then wakes; who
  // finds the guard taken leaves that to its holder.
  // [A3] seq_cst: after the push ([Q1]), the release ([A2]) or the bit of a sleeper ([E4]); and it acquires `filed_`.
  bool can_take() const noexcept {
    if (guard_.load(base::seq_cst)) return false;
    return filed_.load(base::relaxed) != 0 || !inbox_.empty();  // relaxed: written under the guard
  }

  // Of what has been filed. relaxed: a hint which shard to ask.
  std::int64_t earliest_ns() const noexcept { return earliest_.load(base::relaxed); }

 private:
  static constexpr int kLateAtOnce = 64;

  bool try_guard() noexcept {
    if (guard_.load(base::relaxed)) return false;  // relaxed: a guess; the exchange decides
    // [A1] seq_cst: acquires the heap from [A2]; a sleeper that saw the guard free before this is seen by our look after.
    return !guard_.exchange(true, base::seq_cst);
  }
  void release() noexcept {
    filed_.store(static_cast<std::uint32_t>(heap_.size()),
                 base::relaxed);  // relaxed (both): published by the next line
    earliest_.store(heap_.earliest_ns(), base::relaxed);
    // [A2] seq_cst: hands the heap to the next [A1]; the look at what came meanwhile must not come before this.
    guard_.store(false, base::seq_cst);
  }
  void file_inbox() {
    for (Node* node = inbox_.take_all(); node != nullptr;) {
      Node* older = node->next;
      heap_.push(node, node->deadline_ns);
      node = older;
    }
  }

  alignas(base::kCacheLine) queue::PushStack<Node, Atomics> inbox_;  // pushers write it
  alignas(base::kCacheLine) atomic<bool> guard_{false};  // who takes writes it, and all below
  atomic<std::uint32_t> filed_{0};
  atomic<std::int64_t> earliest_{base::kNever};
  Heap heap_;
};

}  // namespace tailrace::sched
