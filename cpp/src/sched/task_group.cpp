#include "tailrace/sched/task_group.hpp"

#include "tailrace/base/clock.hpp"

namespace tailrace::sched {

void TaskGroup::TaskBase::run_at(Forked& self, Place* place, Place& owner) noexcept {
  auto& task = static_cast<TaskBase&>(self);
  TaskGroup& group = task.group;
  Place& home = group.home_;
  if (place == nullptr) {
    TaskBase* head = group.returned_.load(base::relaxed);  // relaxed: only a hint for the exchange
    do {
      task.next = head;
      // [F8] release: the task with its link. The wake that follows makes the home look ([F1]).
    } while (!group.returned_.compare_exchange_weak(head, &task, base::release, base::relaxed));
    home.wake();  // from here on the group may be gone
    return;
  }
  if (place != &owner) {
    // [F3] release: who reads the number may use the place.
    group.thief_.store(static_cast<std::uint32_t>(place->id()) + 1, base::release);
    place->rescope(&group);
  }
  group.run_task(task, *place);
}

void TaskGroup::run_task(TaskBase& task, Place& place) noexcept {
  if (cancelled()) {
    skipped_.fetch_add(1, base::relaxed);  // relaxed: counted; [F4] orders it for who reads after the wait
  } else {
    try {
      task.call(task, place);
    } catch (...) {
      fail(std::current_exception());
    }
  }
  task.destroy(&task);
  Place& home = home_;
  if (count_.done(&place == &home)) home.wake();
}

void TaskGroup::fail(std::exception_ptr error) noexcept {
  failures_.fetch_add(1, base::relaxed);  // relaxed (both): [F4] orders the error for who waits
  if (errors_.fetch_add(1, base::relaxed) == 0) error_ = std::move(error);
}

// Takes the newest task that lies at the home and is this group's, or was pushed since the wait began: inside one.
bool TaskGroup::run_mine(std::uint64_t mark) noexcept {
  Forked* const child = home_.deque_.take([this, mark](const Forked* other) {
    if (other->run != &TaskBase::run_at) return false;
    const auto* task = static_cast<const TaskBase*>(other);
    return &task->group == this || task->number >= mark;
  });
  if (child == nullptr) return false;
  child->run(*child, &home_, home_);
  return true;
}

bool TaskGroup::run_returned() noexcept {
  if (returned_.load(base::relaxed) == nullptr) return false;  // relaxed: a hint; before a sleep, prepare orders it
  // [F8] acquire: the tasks with their links.
  TaskBase* task = returned_.exchange(nullptr, base::acquire);
  while (task != nullptr) {
    TaskBase* const next = task->next;
    run_task(*task, home_);
    task = next;
  }
  return true;
}

void TaskGroup::wait_for_all() noexcept {
  const std::uint64_t mark = home_.tasks_pushed_;
  std::int64_t until = 0;
  while (!count_.finished()) {
    home_.poll();
    // With older work of ours still here we steal nothing: what lies here must all be inside what we run.
    if (run_mine(mark) || run_returned() ||
        (!home_.has_own() && home_.help(thief_.load(base::acquire), this))) {  // [F3] acquire: see above
      until = 0;
      continue;
    }
    const std::int64_t now = base::monotonic_ns();
    if (until == 0) until = now + home_.places_.spin_ns_;
    if (now < until) {
      for (int i = 0; i < 4; ++i) base::pause();
      continue;
    }
    until = 0;
    home_.nap_.prepare();
    // relaxed: see run_returned
    const bool helps = !home_.has_own() && home_.watch(thief_.load(base::acquire));  // [F3] acquire: see above
    if (helps || returned_.load(base::relaxed) != nullptr) continue;
    if (count_.show_sleep()) home_.nap_.sleep();
    count_.awake();
  }
}

void TaskGroup::wait() {
  wait_for_all();
  // relaxed: what the tasks did was acquired by the last look at the count
  if (errors_.exchange(0, base::relaxed) == 0) return;
  std::rethrow_exception(std::exchange(error_, nullptr));
}

}  // namespace tailrace::sched
