// hand.hpp -- the ready nodes that one participant keeps to itself.
//
// What      A small stack on the participant's own stack, and the count of sinks that it has fired.
// Why       Two threads that meet at a shared stack for every node move its line to and fro, which costs ten nodes each
//           time. What a participant makes ready it mostly runs itself; the oldest half goes to others when they ask.
// Threads   One.
// Checked   tests/cpp/flow/test_ready.cpp, tests/stress/plans.cpp.
#pragma once

#include <cstdint>

namespace tailrace::flow {

class Hand {
 public:
  static constexpr std::uint32_t kCapacity = 64;

  bool full() const noexcept { return count_ == kCapacity; }
  bool empty() const noexcept { return count_ == 0; }
  std::uint32_t count() const noexcept { return count_; }

  void push(std::uint32_t node) noexcept { nodes_[count_++] = node; }
  std::uint32_t pop() noexcept { return nodes_[--count_]; }

  // For who fills an empty hand from elsewhere, the first to be run first: `fill(nodes, most)` says how many it gave.
  template <class Fill>
  bool refill(std::uint32_t most, Fill&& fill) noexcept {
    count_ = fill(nodes_, most);
    for (std::uint32_t i = 0; i < count_ / 2; ++i) {
      const std::uint32_t last = nodes_[count_ - 1 - i];
      nodes_[count_ - 1 - i] = nodes_[i];
      nodes_[i] = last;
    }
    return count_ != 0;
  }

  // Hands over all but the newest `keep`, the newest of them last: `give(node)` for each.
  template <class Give>
  void give_oldest(std::uint32_t keep, Give&& give) noexcept {
    const std::uint32_t given = count_ - keep;
    for (std::uint32_t i = 0; i < given; ++i) give(nodes_[i]);
    for (std::uint32_t i = 0; i < keep; ++i) nodes_[i] = nodes_[given + i];
    count_ = keep;
  }

  std::uint32_t sinks = 0;  // fired, and not yet taken off the run's count

 private:
  std::uint32_t count_ = 0;
  std::uint32_t nodes_[kCapacity];
};

}  // namespace tailrace::flow
