// mpsc_queue.cpp -- two pushers and a consumer: nothing lost, each pusher's items in its order, contents seen.
#include "tailrace/queue/mpsc_queue.hpp"

#include <array>

#include "prove.hpp"

namespace {

using namespace tailrace::model;

struct Node {
  Var<Node*> next{nullptr};
  Var<int> content{0};
};

// `push` shows the node before its link is made: the mutant that an intrusive queue invites.
struct LinkedLate {
  Atomic<Node*> head{nullptr};
  void push(Node* node) {
    Node* seen = head.exchange(node, std::memory_order_seq_cst);
    node->next = seen;
  }
  Node* pop() {
    Node* newest = head.exchange(nullptr, std::memory_order_acquire);
    if (newest == nullptr) return nullptr;
    Node* older = newest->next;
    if (older != nullptr) push(older);
    return newest;
  }
  bool empty() const { return head.load(std::memory_order_seq_cst) == nullptr; }
};

template <class Queue>
struct TwoPushers {
  static constexpr int kThreads = 3;
  Queue queue;
  std::array<Node, 4> nodes{};  // 0, 1: the first pusher's; 2, 3: the second's
  std::array<int, 4> times{};
  std::array<int, 2> last{-1, -1};

  void push(int i) {
    nodes[static_cast<std::size_t>(i)].content = i + 100;
    queue.push(&nodes[static_cast<std::size_t>(i)]);
  }
  bool pop() {
    Node* node = queue.pop();
    if (node == nullptr) return false;
    const int i = static_cast<int>(node - nodes.data());
    check(node->content == i + 100, "the node's content is old");
    check(++times[static_cast<std::size_t>(i)] == 1, "a node came twice");
    int& before = last[static_cast<std::size_t>(i / 2)];
    check(i > before, "a pusher's nodes came in another order");
    before = i;
    return true;
  }
  void thread(int i) {
    if (i == 3) {
      for (int k = 0; k < 3; ++k) pop();
    } else {
      push(2 * (i - 1));
      push(2 * (i - 1) + 1);
    }
  }
  void finally() {
    while (pop()) {
    }
    check(queue.empty(), "it says that it is not empty");
    for (const int t : times) check(t == 1, "a node was lost");
  }
};

// The consumer's right passes from one thread to another, and a node is used again at once.
template <Order kHandOver>
struct HandedOn {
  static constexpr int kThreads = 3;
  tailrace::queue::MpscQueue<Node, ModelAtomics> queue;
  Atomic<int> turn{0};
  Var<int> right{0};  // touched by who has the consumer's right
  std::array<Node, 2> nodes{};
  int taken = 0;

  void thread(int i) {
    if (i == 3) {
      queue.push(&nodes[0]);
      queue.push(&nodes[1]);
      return;
    }
    if (i == 2 && turn.load(std::memory_order_acquire) == 0) return;
    right = i;
    if (Node* node = queue.pop()) {
      if (++taken == 1) queue.push(node);
    }
    if (i == 1) turn.store(1, kHandOver);
  }
  void finally() {
    while (queue.pop() != nullptr) ++taken;
    check(taken == 2 || taken == 3, "a node was lost or came twice");
  }
};

using Shipped = TwoPushers<tailrace::queue::MpscQueue<Node, ModelAtomics>>;
using Handed = HandedOn<std::memory_order_release>;

TEST(the_queue_gives_each_node_once_and_each_pushers_in_order) {
  prove<Shipped>("two pushers and a consumer", {.preemptions = 4, .stale_loads = 2});
  prove<Shipped>("two pushers and a consumer", {.random = 50'000});
}

TEST(the_queue_may_change_its_consumer) {
  prove<Handed>("a consumer hands its right on", {.preemptions = 4, .stale_loads = 3});
}

TEST(the_check_of_the_queue_catches_its_mutants) {
  catches<Shipped>("push releases nothing",
                   {.mutants = {{"compare_exchange_weak(seen, node", std::memory_order_relaxed}}});
  catches<Shipped>("the consumer acquires nothing",
                   {.mutants = {{"head_.exchange(nullptr, base::acquire)", std::memory_order_relaxed}}});
  catches<TwoPushers<LinkedLate>>("the link is made after the push", {});
  catches<HandedOn<std::memory_order_relaxed>>("the right is handed on relaxed", {});
}

}  // namespace
