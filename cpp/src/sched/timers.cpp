#include "tailrace/sched/timers.hpp"

namespace tailrace::sched {

bool Timers::arm(Timer& timer, std::int64_t deadline_ns) {
  const std::lock_guard lock{mutex_};
  timer.deadline_ns = deadline_ns;
  wheel_.insert(timer.node_, deadline_ns, ++armed_);
  if (deadline_ns >= sleeps_until_ns_) return false;
  sleeps_until_ns_ = deadline_ns;
  return true;
}

bool Timers::cancel(Timer& timer) {
  const std::lock_guard lock{mutex_};
  if (!timer.node_.linked()) return false;
  wheel_.remove(timer.node_);
  return true;
}

int Timers::fire_due(std::int64_t now_ns) {
  for (int fired = 0;; ++fired) {
    queue::TimerNode* due = nullptr;
    {
      const std::lock_guard lock{mutex_};
      due = wheel_.pop_due(now_ns);
    }
    if (due == nullptr) return fired;
    static_cast<Timer::Node*>(due)->timer.fire();
  }
}

std::int64_t Timers::next_deadline_ns() const {
  const std::lock_guard lock{mutex_};
  return wheel_.next_ns();
}

std::int64_t Timers::sleep_until_ns() {
  const std::lock_guard lock{mutex_};
  return sleeps_until_ns_ = wheel_.next_ns();
}

void Timers::nobody_sleeps() {
  const std::lock_guard lock{mutex_};
  sleeps_until_ns_ = base::kNever;
}

std::size_t Timers::size() const {
  const std::lock_guard lock{mutex_};
  return wheel_.size();
}

}  // namespace tailrace::sched
