// task_group.hpp -- any number of tasks, spawned from anywhere inside, waited for together.
//
// What      `TaskGroup group{place}; group.spawn(place, body); group.wait();` Bodies take the `Place&` where they run, or
//           nothing. cancel() leaves out what has not begun; exceptions are counted, and wait() throws the first.
// Why       For work whose shape is found on the way; where the shape is known, fork2 and the loops are cheaper.
// Threads   The group belongs to the thread of its place, its home, which waits. `spawn`: that thread, or any body of the
//           group (or what it forked), at the place where it runs. cancel, cancelled, on_cancel: any thread.
//           While it waits, the home runs the group's tasks and what is spawned inside them, nothing else.
// Checked   tests/cpp/sched/test_task_group.cpp, tests/model/join_word.cpp, tests/stress/fork_join.cpp.
#pragma once

#include <cstddef>
#include <cstdint>
#include <exception>
#include <new>
#include <type_traits>
#include <utility>

#include "tailrace/pool/scheduler_blocks.hpp"
#include "tailrace/sched/cancel.hpp"
#include "tailrace/sched/fork_join.hpp"
#include "tailrace/sched/join_word.hpp"
#include "tailrace/sched/place.hpp"

namespace tailrace::sched {

class TaskGroup {
 public:
  explicit TaskGroup(Place& home) noexcept : home_{home} {}
  TaskGroup(const TaskGroup&) = delete;
  TaskGroup& operator=(const TaskGroup&) = delete;
  ~TaskGroup() { wait_for_all(); }  // exceptions that nobody has waited for are dropped

  // Throws std::bad_alloc, having done nothing. `at`: the calling thread's place.
  template <class Body>
  void spawn(Place& at, Body&& body) {
    using Made = Task<std::decay_t<Body>>;
    auto* task = new Made{*this, std::forward<Body>(body)};
    task->number = at.tasks_pushed_++;
    count_.add(&at == &home_);
    try {
      at.push(task);
    } catch (...) {
      count_.done(&at == &home_);
      delete task;
      throw;
    }
  }
  // From the home.
  template <class Body>
  void spawn(Body&& body) {
    spawn(home_, std::forward<Body>(body));
  }

  // At the home: returns when every task has ended, throws the first exception since the last wait. The group can be used
  // again, unless it is cancelled.
  void wait();

  bool cancel() noexcept { return source_.cancel(); }
  bool cancelled() const noexcept { return source_.cancelled(); }
  CancelToken token() const noexcept { return CancelToken{source_}; }
  // Calls `callback()` once when the group is cancelled; now, if it has been. See CancelSource.
  template <class F>
  void on_cancel(F&& callback) {
    source_.on_cancel(std::forward<F>(callback));
  }

  // Exact after wait().
  std::uint64_t failures() const noexcept { return failures_.load(base::relaxed); }  // relaxed: ordered by the wait
  std::uint64_t skipped() const noexcept { return skipped_.load(base::relaxed); }  // relaxed: as above

 private:
  struct TaskBase : Forked {
    TaskBase(TaskGroup& of, void (*invoke)(TaskBase&, Place&), void (*drop)(TaskBase*) noexcept) noexcept
        : Forked{&TaskBase::run_at}, group{of}, call{invoke}, destroy{drop} {}
    static void run_at(Forked& self, Place* place, Place& owner) noexcept;

    TaskGroup& group;
    void (*const call)(TaskBase&, Place&);
    void (*const destroy)(TaskBase*) noexcept;
    std::uint64_t number = 0;  // in the order of pushes at one place
    TaskBase* next = nullptr;  // while it is among the returned
  };
  template <class Body>
  struct Task final : TaskBase, pool::Pooled {
    template <class B>
    Task(TaskGroup& of, B&& given)
        : TaskBase{of, [](TaskBase& self, Place& place) { detail::call(static_cast<Task&>(self).body, place); },
                   [](TaskBase* self) noexcept { delete static_cast<Task*>(self); }},
          body(std::forward<B>(given)) {}
    Body body;
  };

  void wait_for_all() noexcept;
  bool run_mine(std::uint64_t mark) noexcept;
  bool run_returned() noexcept;
  void run_task(TaskBase& task, Place& place) noexcept;
  void fail(std::exception_ptr error) noexcept;

  Place& home_;
  GroupCount count_;
  CancelSource source_;
  std::exception_ptr error_;
  base::atomic<std::uint64_t> failures_{0};
  base::atomic<std::uint64_t> skipped_{0};
  base::atomic<std::uint32_t> errors_{0};  // since the last wait
  base::atomic<std::uint32_t> thief_{0};  // the last one's place, plus one
  base::atomic<TaskBase*> returned_{nullptr};  // taken by a thief and given back unrun
};

}  // namespace tailrace::sched
