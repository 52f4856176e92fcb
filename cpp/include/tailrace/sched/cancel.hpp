// cancel.hpp -- one flag that says "stop", and what is called when it is raised.
//
// What      `CancelSource`: cancel() once, cancelled() any time, on_cancel(callback); `CancelToken`, a view of it.
// Why       A body that runs can only stop by itself: it looks at the token, or a callback breaks what it waits for.
// Threads   All: any thread. A callback runs once, on the thread that cancels, or at once on the thread that adds it if
//           the flag is up already; no lock is held. A source outlives its tokens.
// ABA       The list is only pushed to and taken as a whole, once; after that it is closed for good.
// Checked   tests/cpp/sched/test_task_group.cpp, tests/model/cancel.cpp (with mutants).
#pragma once

#include <cstdint>
#include <memory>
#include <type_traits>
#include <utility>

#include "tailrace/base/atomic.hpp"

namespace tailrace::sched {

// Callbacks until the flag is raised. `Node` has `Node* next`.
template <class Node, class Atomics = base::StdAtomics>
class BasicCancelFlag {
 public:
  // [C1] acquire: who sees it raised sees why.
  bool raised() const noexcept { return head_.load(base::acquire) == kRaised; }

  // False: the flag is up already, and `node` was not added.
  bool add(Node* node) noexcept {
    std::uintptr_t head = head_.load(base::acquire);  // [C1] acquire: as above
    do {
      if (head == kRaised) return false;
      node->next = reinterpret_cast<Node*>(head);
      // [C2] release: the node's content. Failure: [C1], acquire.
    } while (!head_.compare_exchange_weak(head, reinterpret_cast<std::uintptr_t>(node), base::release, base::acquire));
    return true;
  }

  // Raises the flag. `first`: it was this call; the nodes, in the order in which they were added, are the caller's.
  Node* raise(bool& first) noexcept {
    // [C2] acquire: the nodes' contents. [C1] release: why.
    const std::uintptr_t head = head_.exchange(kRaised, base::acq_rel);
    first = head != kRaised;
    return first ? reversed(reinterpret_cast<Node*>(head)) : nullptr;
  }

  // When nobody else uses it any more: what was added and never called.
  Node* left_over() noexcept {
    const std::uintptr_t head = head_.load(base::acquire);  // [C1] acquire: as above
    return head == kRaised ? nullptr : reinterpret_cast<Node*>(head);
  }

 private:
  static constexpr std::uintptr_t kRaised = 1;

  static Node* reversed(Node* node) noexcept {
    Node* before = nullptr;
    while (node != nullptr) before = std::exchange(node, std::exchange(static_cast<Node*&>(node->next), before));
    return before;
  }

  typename Atomics::template atomic<std::uintptr_t> head_{0};
};

class CancelSource {
 public:
  CancelSource() = default;
  CancelSource(const CancelSource&) = delete;
  CancelSource& operator=(const CancelSource&) = delete;
  ~CancelSource() { drop(flag_.left_over()); }

  bool cancelled() const noexcept { return flag_.raised(); }

  // Raises the flag and calls the callbacks, in the order in which they were added. True: this call was the first.
  bool cancel() noexcept {
    bool first = false;
    for (Callback* callback = flag_.raise(first); callback != nullptr;) {
      Callback* const next = callback->next;
      callback->call(callback);
      callback->drop(callback);
      callback = next;
    }
    return first;
  }

  // Calls `callback()`, which must not throw, once: when the source is cancelled, or now if it has been. A callback that
  // was never called is dropped with the source.
  template <class F>
  void on_cancel(F&& callback) {
    struct Holder final : Callback {
      explicit Holder(F&& given) : body(std::forward<F>(given)) {}
      std::decay_t<F> body;
    };
    auto holder = std::make_unique<Holder>(std::forward<F>(callback));
    holder->call = [](Callback* self) noexcept { static_cast<Holder*>(self)->body(); };
    holder->drop = [](Callback* self) { delete static_cast<Holder*>(self); };
    if (flag_.add(holder.get())) {
      static_cast<void>(holder.release());
    } else {
      holder->call(holder.get());
    }
  }

 private:
  struct Callback {
    Callback* next = nullptr;
    void (*call)(Callback*) noexcept = nullptr;
    void (*drop)(Callback*) = nullptr;
  };
  static void drop(Callback* callback) {
    while (callback != nullptr) {
      Callback* next = callback->next;
      callback->drop(callback);
      callback = next;
    }
  }

  BasicCancelFlag<Callback> flag_;
};

// A view of a source, or of none, which is never cancelled.
class CancelToken {
 public:
  CancelToken() = default;
  explicit CancelToken(const CancelSource& source) noexcept : source_{&source} {}
  bool cancelled() const noexcept { return source_ != nullptr && source_->cancelled(); }

 private:
  const CancelSource* source_ = nullptr;
};

}  // namespace tailrace::sched
