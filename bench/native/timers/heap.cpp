// The plain way: a binary heap behind a mutex, and a thread that waits on a condition variable for the earliest.
#include <condition_variable>
#include <mutex>

#include "workload.hpp"

namespace {

struct HeapTimer {
  std::int64_t deadline_ns = 0;
  std::size_t place = SIZE_MAX;  // its index in the heap
  std::uint64_t order = 0;
  std::atomic<std::int64_t> fired_ns{0};
};

class Heap {
 public:
  bool push(HeapTimer& timer, std::int64_t deadline_ns) {
    timer.deadline_ns = deadline_ns;
    timer.order = ++armed_;
    heap_.push_back(nullptr);
    sift_up(heap_.size() - 1, &timer);
    return heap_.front() == &timer;
  }
  bool remove(HeapTimer& timer) {
    const std::size_t place = timer.place;
    if (place == SIZE_MAX) return false;
    timer.place = SIZE_MAX;
    HeapTimer* last = heap_.back();
    heap_.pop_back();
    if (place == heap_.size()) return true;
    sift_up(place, last);
    sift_down(last->place, last);
    return true;
  }
  HeapTimer* first() const { return heap_.empty() ? nullptr : heap_.front(); }

 private:
  static bool earlier(const HeapTimer* a, const HeapTimer* b) {
    return a->deadline_ns != b->deadline_ns ? a->deadline_ns < b->deadline_ns : a->order < b->order;
  }
  void put(std::size_t place, HeapTimer* timer) {
    heap_[place] = timer;
    timer->place = place;
  }
  void sift_up(std::size_t place, HeapTimer* timer) {
    for (; place > 0 && earlier(timer, heap_[(place - 1) / 2]); place = (place - 1) / 2)
      put(place, heap_[(place - 1) / 2]);
    put(place, timer);
  }
  void sift_down(std::size_t place, HeapTimer* timer) {
    for (std::size_t child = 2 * place + 1; child < heap_.size(); child = 2 * place + 1) {
      if (child + 1 < heap_.size() && earlier(heap_[child + 1], heap_[child])) ++child;
      if (!earlier(heap_[child], timer)) break;
      put(place, heap_[child]);
      place = child;
    }
    put(place, timer);
  }

  std::vector<HeapTimer*> heap_;
  std::uint64_t armed_ = 0;
};

class Real {
 public:
  using Timer = HeapTimer;
  Real() : thread_{[this] { loop(); }} {}
  ~Real() {
    {
      const std::lock_guard lock{mutex_};
      stopping_ = true;
    }
    changed_.notify_one();
    thread_.join();
  }
  void arm(HeapTimer& timer, std::int64_t deadline_ns) {
    bool first = false;
    {
      const std::lock_guard lock{mutex_};
      first = heap_.push(timer, deadline_ns);
    }
    if (first) changed_.notify_one();
  }
  bool cancel(HeapTimer& timer) {
    const std::lock_guard lock{mutex_};
    return heap_.remove(timer);
  }

 private:
  void loop() {
    std::unique_lock lock{mutex_};
    while (!stopping_) {
      HeapTimer* first = heap_.first();
      if (first == nullptr) {
        changed_.wait(lock);
      } else if (first->deadline_ns > bench::now_ns()) {
        changed_.wait_for(lock, std::chrono::nanoseconds{first->deadline_ns - bench::now_ns()});
      } else {
        heap_.remove(*first);
        first->fired_ns = bench::now_ns();
      }
    }
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  Heap heap_;
  bool stopping_ = false;
  std::thread thread_;
};

struct Moved {
  using Timer = HeapTimer;
  void arm(HeapTimer& timer, std::int64_t deadline_ns) {
    const std::lock_guard lock{mutex};
    heap.push(timer, deadline_ns);
  }
  bool cancel(HeapTimer& timer) {
    const std::lock_guard lock{mutex};
    return heap.remove(timer);
  }
  std::int64_t next() {
    const std::lock_guard lock{mutex};
    return heap.first()->deadline_ns;
  }
  template <class Fn>
  void advance(std::int64_t now_ns, Fn&& again) {
    {
      const std::lock_guard lock{mutex};
      for (HeapTimer* timer = heap.first(); timer != nullptr && timer->deadline_ns <= now_ns; timer = heap.first()) {
        heap.remove(*timer);
        due.push_back(timer);
      }
    }
    for (HeapTimer* timer : due) again(*timer, timer->deadline_ns);
    due.clear();
  }
  std::mutex mutex;
  Heap heap;
  std::vector<HeapTimer*> due;
};

}  // namespace

int main(int argc, char** argv) { bench::timers::measure<Real, Moved>("heap", bench::parse(argc, argv)); }
