// queues.cpp -- deque, queue and lane under real threads: every item comes out exactly once.
#include <array>
#include <atomic>
#include <memory>
#include <thread>
#include <vector>

#include "../cpp/harness.hpp"
#include "tailrace/base/random.hpp"
#include "tailrace/queue/inject_lane.hpp"
#include "tailrace/queue/mpsc_queue.hpp"
#include "tailrace/queue/steal_deque.hpp"

namespace {

using namespace tailrace;

std::size_t amount(std::size_t base) { return base * static_cast<std::size_t>(test::stress_factor()); }

// Each item's number of times; and a plain field written before the push and read after the take.
struct Tally {
  explicit Tally(std::size_t n) : times(n), content(n, 0) {}
  void made(std::size_t i) { content[i] = i + 1; }
  void taken(std::size_t i) {
    if (content[i] != i + 1) wrong = true;
    times[i].fetch_add(1, std::memory_order_relaxed);
  }
  void check() const {
    CHECK(!wrong);
    std::size_t bad = 0;
    for (const auto& t : times) bad += t.load() == 1 ? 0 : 1;
    CHECK_EQ(bad, 0u);
  }
  std::vector<std::atomic<std::uint8_t>> times;
  std::vector<std::size_t> content;
  std::atomic<bool> wrong{false};
};

TEST(a_deque_with_two_thieves_gives_each_item_once) {
  const std::size_t n = amount(2'000'000);
  Tally tally{n};
  queue::StealDeque<std::size_t> deque{2};
  std::atomic<bool> done{false};
  std::vector<std::thread> thieves;
  for (int t = 0; t < 2; ++t) {
    thieves.emplace_back([&] {
      std::size_t item = 0;
      while (!done.load(std::memory_order_acquire) || !deque.empty()) {
        if (deque.steal(item) == queue::Steal::kTaken) {
          tally.taken(item);
        } else {
          std::this_thread::yield();
        }
      }
    });
  }
  base::Random random{test::seed()};
  std::size_t item = 0;
  for (std::size_t i = 0; i < n;) {
    for (std::uint32_t k = random.below(8); k > 0 && i < n; --k, ++i) {
      tally.made(i);
      deque.push(i);
    }
    for (std::uint32_t k = random.below(7); k > 0 && deque.pop(item); --k) tally.taken(item);
  }
  while (deque.pop(item)) tally.taken(item);
  done.store(true, std::memory_order_release);
  for (auto& thief : thieves) thief.join();
  tally.check();
}

struct Node {
  Node* next = nullptr;
  std::size_t number = 0;
};

TEST(a_queue_with_three_pushers_keeps_each_ones_order_while_its_consumer_changes) {
  const std::size_t each = amount(500'000);
  std::vector<Node> nodes(3 * each);
  Tally tally{nodes.size()};
  queue::MpscQueue<Node> queue;
  std::array<std::size_t, 3> next{};
  std::size_t taken = 0;
  bool in_order = true;
  std::atomic<int> right{0};  // the consumer's right goes round between two threads
  std::vector<std::thread> threads;
  for (std::size_t p = 0; p < 3; ++p) {
    threads.emplace_back([&, p] {
      for (std::size_t i = 0; i < each; ++i) {
        Node& node = nodes[p * each + i];
        node.number = p * each + i;
        tally.made(node.number);
        queue.push(&node);
      }
    });
  }
  for (int c = 0; c < 2; ++c) {
    threads.emplace_back([&, c] {
      for (bool more = true; more;) {
        if (right.load(std::memory_order_acquire) != c) {
          std::this_thread::yield();
          continue;
        }
        for (int k = 0; k < 100; ++k) {
          Node* node = queue.pop();
          if (node == nullptr) break;
          const std::size_t p = node->number / each;
          in_order = in_order && node->number % each == next[p]++;
          tally.taken(node->number);
          ++taken;
        }
        more = taken < nodes.size();
        right.store(1 - c, std::memory_order_release);
      }
    });
  }
  for (auto& thread : threads) thread.join();
  CHECK(in_order);
  tally.check();
}

TEST(a_lane_of_sixteen_cells_with_three_consumers_gives_each_cell_once_and_whole) {
  const std::size_t n = amount(1'000'000);
  Tally tally{n};
  const auto lane = std::make_unique<queue::InjectLane<16>>();
  std::atomic<std::size_t> taken{0};
  std::vector<std::thread> consumers;
  for (std::size_t limit : {std::size_t{1}, std::size_t{5}, std::size_t{16}}) {
    consumers.emplace_back([&, limit] {
      std::array<queue::Cell, 16> out{};
      while (taken.load(std::memory_order_relaxed) < n) {
        const std::size_t got = lane->claim(out.data(), limit);
        for (std::size_t k = 0; k < got; ++k) {
          for (std::size_t w = 1; w < queue::kCellWords; ++w) {
            if (out[k][w] != out[k][0] + w) tally.wrong = true;
          }
          tally.taken(out[k][0]);
        }
        taken.fetch_add(got, std::memory_order_relaxed);
        if (got == 0) std::this_thread::yield();
      }
    });
  }
  for (std::size_t i = 0; i < n; ++i) {
    tally.made(i);
    queue::Cell cell{};
    for (std::size_t w = 0; w < queue::kCellWords; ++w) cell[w] = i + w;
    while (!lane->try_push(cell)) std::this_thread::yield();
  }
  for (auto& consumer : consumers) consumer.join();
  tally.check();
}

}  // namespace
