// inject_lane.cpp -- a producer and two consumers on a ring of two cells: each cell is claimed once and whole.
#include "tailrace/queue/inject_lane.hpp"

#include <array>

#include "prove.hpp"

namespace {

using namespace tailrace::model;
using tailrace::queue::Cell;
using tailrace::queue::kCellWords;

constexpr int kMost = 4;

Cell cell_of(int item) {
  Cell cell{};
  for (std::size_t i = 0; i < kCellWords; ++i) cell[i] = static_cast<std::uint64_t>(item) * 16 + i;
  return cell;
}

template <class Lane>
struct Claimed {
  Lane lane;
  std::array<Var<int>, kMost + 1> payload{};
  std::array<int, kMost + 1> times{};
  int pushed = 0;

  bool push() {
    const int item = pushed + 1;
    payload[static_cast<std::size_t>(item)] = item;
    if (!lane.try_push(cell_of(item))) return false;
    pushed = item;
    return true;
  }
  std::size_t claim(std::size_t limit) {
    std::array<Cell, 2> out{};
    const std::size_t n = lane.claim(out.data(), limit);
    for (std::size_t k = 0; k < n; ++k) {
      const auto item = static_cast<int>(out[k][0] / 16);
      check(item >= 1 && item <= kMost && out[k] == cell_of(item), "a torn cell was claimed");
      check(payload[static_cast<std::size_t>(item)] == item, "what was done before the push is not seen");
      check(++times[static_cast<std::size_t>(item)] == 1, "a cell was claimed twice");
    }
    return n;
  }
  void all_claimed() {
    while (claim(2) != 0) {
    }
    check(lane.empty(), "it says that it is not empty");
    for (int i = 1; i <= pushed; ++i) check(times[static_cast<std::size_t>(i)] == 1, "a cell was lost");
  }
};

// The lane is full at the start; the producer goes round while two consumers claim.
template <class Lane>
struct Full : Claimed<Lane> {
  static constexpr int kThreads = 3;
  Full() {
    this->push();
    this->push();
  }
  void thread(int i) {
    if (i == 1) {
      this->push();
      this->push();
    } else {
      this->claim(static_cast<std::size_t>(i - 1));  // one takes single cells, the other batches
      if (i == 2) this->claim(1);
    }
  }
  void finally() { this->all_claimed(); }
};

template <class Lane>
struct Empty : Claimed<Lane> {
  static constexpr int kThreads = 3;
  void thread(int i) {
    if (i > 1) {
      this->claim(2);
    } else {
      this->push();
      this->push();
    }
  }
  void finally() { this->all_claimed(); }
};

// The lane with one step changed: cells are copied after the claim, or the producer trusts an old `tail` too long.
template <bool kCopiesLate, bool kForgetsFull>
class Broken {
 public:
  bool try_push(const Cell& cell) {
    const std::uint64_t t = tail_.load(std::memory_order_relaxed);
    if (!kForgetsFull && t - head_.load(std::memory_order_acquire) == 2) return false;
    for (std::size_t i = 0; i < kCellWords; ++i) cells_[t & 1][i].store(cell[i], std::memory_order_relaxed);
    tail_.store(t + 1, std::memory_order_seq_cst);
    return true;
  }
  std::size_t claim(Cell* out, std::size_t) {
    std::uint64_t h = head_.load(std::memory_order_relaxed);
    if (tail_.load(std::memory_order_acquire) <= h) return 0;
    if (!kCopiesLate) copy(out, h);
    if (!head_.compare_exchange_strong(h, h + 1, std::memory_order_acq_rel, std::memory_order_relaxed)) return 0;
    if (kCopiesLate) copy(out, h);
    return 1;
  }
  bool empty() const { return head_.load(std::memory_order_seq_cst) >= tail_.load(std::memory_order_seq_cst); }

 private:
  void copy(Cell* out, std::uint64_t h) {
    for (std::size_t i = 0; i < kCellWords; ++i) out[0][i] = cells_[h & 1][i].load(std::memory_order_relaxed);
  }
  Atomic<std::uint64_t> head_{0}, tail_{0};
  std::array<std::array<Atomic<std::uint64_t>, kCellWords>, 2> cells_{};
};

using Lane = tailrace::queue::InjectLane<2, ModelAtomics>;

TEST(the_lane_gives_each_cell_once_and_whole) {
  prove<Full<Lane>>("a full ring of two, two consumers", {.preemptions = 2, .stale_loads = 1});
  prove<Empty<Lane>>("an empty ring of two, two consumers", {.preemptions = 2, .stale_loads = 1});
  prove<Full<Lane>>("a full ring of two, two consumers", {.random = 30'000});
}

TEST(the_check_of_the_lane_catches_its_mutants) {
  catches<Empty<Lane>>("the push publishes relaxed",
                       {.mutants = {{"tail_.store(t + 1, base::seq_cst)", std::memory_order_relaxed}}});
  catches<Empty<Lane>>("the claim reads tail_ relaxed",
                       {.mutants = {{"tail_.load(base::acquire)", std::memory_order_relaxed}}});
  catches<Full<Broken<true, false>>>("cells are copied after the claim", {});
  catches<Full<Broken<false, true>>>("the producer does not ask whether the lane is full", {});
  const Result unchanged = explore<Full<Broken<false, false>>>({.preemptions = 2, .stale_loads = 1});
  CHECK(!unchanged.failed);
}

}  // namespace
