// cancel.cpp -- the cancel flag: a callback is called exactly once, whoever is first, and what it needs is there.
#include "tailrace/sched/cancel.hpp"

#include <array>

#include "prove.hpp"

namespace {

using namespace tailrace::model;

struct Node {
  Node* next = nullptr;
  Var<int> content{0};
  int calls = 0;
};

struct Callbacks {
  static constexpr int kThreads = 3;
  tailrace::sched::BasicCancelFlag<Node, ModelAtomics> flag;
  std::array<Node, 3> nodes;
  Var<int> why{0};
  int firsts = 0;

  void call(Node& node) {
    check(node.content == 1, "the callback's content is old");
    ++node.calls;
  }
  void add(Node& node) {
    node.content = 1;
    if (flag.add(&node)) return;
    check(why == 1, "cancelled, and why is not to be seen");
    call(node);
  }
  void thread(int i) {
    if (i < 3) {
      add(nodes[static_cast<std::size_t>(i)]);
      if (flag.raised()) check(why == 1, "cancelled, and why is not to be seen");
      return;
    }
    add_own();
    why = 1;
    bool first = false;
    for (Node* node = flag.raise(first); node != nullptr; node = node->next) call(*node);
    firsts += first ? 1 : 0;
    flag.raise(first);
    firsts += first ? 1 : 0;
  }
  void add_own() {
    nodes[0].content = 1;
    flag.add(&nodes[0]);
  }
  void finally() {
    check(firsts == 1, "cancelled twice");
    for (const Node& node : nodes) check(node.calls == 1, "a callback was not called exactly once");
    check(flag.left_over() == nullptr, "a callback is left over after the cancel");
  }
};

TEST(a_cancel_callback_is_called_once_whether_it_is_added_before_or_after) {
  prove<Callbacks>("two who add, one who cancels", {.preemptions = 4, .stale_loads = 2});
}

TEST(the_check_of_the_cancel_flag_catches_its_mutants) {
  const auto weak = [](const char* text, std::memory_order order) {
    return Bounds{.preemptions = 4, .stale_loads = 2, .mutants = {{text, order}}};
  };
  catches<Callbacks>("a callback is added relaxed",
                     weak("reinterpret_cast<std::uintptr_t>(node), base::release", std::memory_order_relaxed));
  catches<Callbacks>("the cancel acquires nothing",
                     weak("head_.exchange(kRaised, base::acq_rel)", std::memory_order_release));
  catches<Callbacks>("the cancel releases nothing",
                     weak("head_.exchange(kRaised, base::acq_rel)", std::memory_order_acquire));
  catches<Callbacks>("the flag is read relaxed",
                     weak("head_.load(base::acquire) == kRaised", std::memory_order_relaxed));
}

}  // namespace
