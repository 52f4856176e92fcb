// remote_frees.cpp -- chains of blocks from two senders to an owner: each block once, with its link and its last use.
#include "tailrace/pool/remote_frees.hpp"

#include <array>

#include "prove.hpp"

namespace {

using namespace tailrace::model;

struct Block {
  Var<Block*> next{nullptr};
  Var<int> content{0};
};
using Shipped = tailrace::pool::RemoteFrees<Block, ModelAtomics>;

// Links the chain's end once, to what it saw first: an exchange that fails leaves the link wrong.
struct LinkedOnce {
  Atomic<Block*> head{nullptr};
  void push(Block* first, Block* last) {
    Block* seen = head.load(std::memory_order_relaxed);
    last->next = seen;
    while (!head.compare_exchange_weak(seen, first, std::memory_order_release, std::memory_order_relaxed)) {
    }
  }
  Block* take_all() { return head.exchange(nullptr, std::memory_order_acquire); }
};

// Looks, then empties: what comes between is lost.
struct TakesInTwoSteps : Shipped {
  Atomic<Block*> head{nullptr};
  void push(Block* first, Block* last) {
    Block* seen = head.load(std::memory_order_relaxed);
    do last->next = seen;
    while (!head.compare_exchange_weak(seen, first, std::memory_order_release, std::memory_order_relaxed));
  }
  Block* take_all() {
    Block* taken = head.load(std::memory_order_acquire);
    if (taken != nullptr) head.store(nullptr, std::memory_order_relaxed);
    return taken;
  }
};

// A sender's chain of two and its single one; the owner takes as they come, and uses what it took again.
template <class Frees>
struct TwoSenders {
  static constexpr int kThreads = 3;
  Frees frees;
  std::array<Block, 5> blocks{};
  std::array<int, 5> times{};

  void send(std::size_t from, std::size_t to) {
    for (std::size_t i = from; i < to; ++i) {
      blocks[i].content = static_cast<int>(i) + 1;
      if (i + 1 < to) blocks[i].next = &blocks[i + 1];
    }
    frees.push(&blocks[from], &blocks[to - 1]);
  }
  void take() {
    for (Block* block = frees.take_all(); block != nullptr;) {
      const auto i = static_cast<std::size_t>(block - blocks.data());
      check(block->content == static_cast<int>(i) + 1, "the block's last use is not seen");
      check(++times[i] == 1, "a block came twice");
      Block* next = block->next;
      block->next = nullptr;
      block->content = -1;
      block = next;
    }
  }
  void thread(int i) {
    if (i == 1) {
      send(0, 2);
      send(2, 3);
    } else if (i == 2) {
      send(3, 5);
    } else {
      take();
      take();
    }
  }
  void finally() {
    take();
    for (const int t : times) check(t == 1, "a block was lost");
  }
};

TEST(blocks_that_are_sent_home_come_once_with_their_last_use) {
  prove<TwoSenders<Shipped>>("two senders", {.preemptions = 4, .stale_loads = 2});
  prove<TwoSenders<Shipped>>("two senders", {.random = 50'000});
}

TEST(the_check_of_remote_frees_catches_its_mutants) {
  catches<TwoSenders<Shipped>>(
      "a push releases nothing",
      {.mutants = {{"compare_exchange_weak(seen, first, base::release", std::memory_order_relaxed}}});
  catches<TwoSenders<Shipped>>("the owner acquires nothing",
                               {.mutants = {{"head_.exchange(nullptr, base::acquire)", std::memory_order_relaxed}}});
  catches<TwoSenders<LinkedOnce>>("the link is made once", {});
  catches<TwoSenders<TakesInTwoSteps>>("a look and a store in place of an exchange", {});
}

}  // namespace
