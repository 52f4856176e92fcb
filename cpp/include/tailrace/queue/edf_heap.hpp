// edf_heap.hpp -- the earliest deadline first.
//
// What      A binary heap of pointers by deadline; equal deadlines come out in the order in which they went in.
// Why       Whoever owns the heap compares numbers that lie side by side; the nodes themselves are not touched.
// Threads   The owner only (a guard or a permit passes it on).
// Checked   tests/cpp/queue/test_edf_heap.cpp.
#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "tailrace/base/clock.hpp"

namespace tailrace::queue {

template <class Node>
class EdfHeap {
 public:
  void push(Node* node, std::int64_t deadline_ns) {
    std::size_t place = heap_.size();
    heap_.push_back({deadline_ns, ++pushed_, node});
    while (place > 0 && earlier(heap_[place], heap_[(place - 1) / 2])) {
      std::swap(heap_[place], heap_[(place - 1) / 2]);
      place = (place - 1) / 2;
    }
  }

  // The one with the earliest deadline, or nullptr.
  Node* pop() noexcept {
    if (heap_.empty()) return nullptr;
    Node* first = heap_.front().node;
    heap_.front() = heap_.back();
    heap_.pop_back();
    for (std::size_t place = 0;;) {
      std::size_t least = place;
      for (const std::size_t child : {2 * place + 1, 2 * place + 2}) {
        if (child < heap_.size() && earlier(heap_[child], heap_[least])) least = child;
      }
      if (least == place) return first;
      std::swap(heap_[place], heap_[least]);
      place = least;
    }
  }

  std::int64_t earliest_ns() const noexcept { return heap_.empty() ? base::kNever : heap_.front().deadline_ns; }
  bool empty() const noexcept { return heap_.empty(); }
  std::size_t size() const noexcept { return heap_.size(); }

 private:
  struct Entry {
    std::int64_t deadline_ns;
    std::uint64_t order;
    Node* node;
  };
  static bool earlier(const Entry& a, const Entry& b) noexcept {
    return a.deadline_ns != b.deadline_ns ? a.deadline_ns < b.deadline_ns : a.order < b.order;
  }

  std::vector<Entry> heap_;
  std::uint64_t pushed_ = 0;
};

}  // namespace tailrace::queue
