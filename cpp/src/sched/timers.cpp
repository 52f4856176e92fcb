#include "tailrace/sched/timers.hpp"

namespace tailrace::sched {

bool Timers::arm(Timer& timer, std::int64_t deadline_ns) {
  const std::lock_guard lock{mutex_};
  timer.deadline_ns = deadline_ns;
  timer.order_ = ++armed_;
  heap_.push_back(nullptr);
  put(heap_.size() - 1, &timer);
  sift_up(heap_.size() - 1);
  return heap_.front() == &timer;
}

bool Timers::cancel(Timer& timer) {
  const std::lock_guard lock{mutex_};
  if (timer.place_ == SIZE_MAX) return false;
  remove_at(timer.place_);
  return true;
}

int Timers::fire_due(std::int64_t now_ns) {
  int fired = 0;
  for (;; ++fired) {
    Timer* due = nullptr;
    {
      const std::lock_guard lock{mutex_};
      if (heap_.empty() || heap_.front()->deadline_ns > now_ns) return fired;
      due = heap_.front();
      remove_at(0);
    }
    due->fire();
  }
}

std::int64_t Timers::next_deadline_ns() const {
  const std::lock_guard lock{mutex_};
  return heap_.empty() ? base::kNever : heap_.front()->deadline_ns;
}

std::size_t Timers::size() const {
  const std::lock_guard lock{mutex_};
  return heap_.size();
}

bool Timers::earlier(const Timer* a, const Timer* b) const noexcept {
  return a->deadline_ns != b->deadline_ns ? a->deadline_ns < b->deadline_ns : a->order_ < b->order_;
}

void Timers::put(std::size_t place, Timer* timer) noexcept {
  heap_[place] = timer;
  timer->place_ = place;
}

void Timers::sift_up(std::size_t place) noexcept {
  Timer* timer = heap_[place];
  while (place > 0 && earlier(timer, heap_[(place - 1) / 2])) {
    put(place, heap_[(place - 1) / 2]);
    place = (place - 1) / 2;
  }
  put(place, timer);
}

void Timers::sift_down(std::size_t place) noexcept {
  Timer* timer = heap_[place];
  for (std::size_t child = 2 * place + 1; child < heap_.size(); child = 2 * place + 1) {
    if (child + 1 < heap_.size() && earlier(heap_[child + 1], heap_[child])) ++child;
    if (!earlier(heap_[child], timer)) break;
    put(place, heap_[child]);
    place = child;
  }
  put(place, timer);
}

void Timers::remove_at(std::size_t place) noexcept {
  heap_[place]->place_ = SIZE_MAX;
  Timer* last = heap_.back();
  heap_.pop_back();
  if (place == heap_.size()) return;
  put(place, last);
  sift_up(place);
  sift_down(last->place_);
}

}  // namespace tailrace::sched
