// future.hpp -- the task behind `_core.Future`: a callable, its arguments, its end.
//
// What      A C base class that, with concurrent.futures.Future as second base, makes the type `_core.Future`:
//           everybody's isinstance holds, while result and done are C.
// Why       The standard future costs 1.1 us to make (a lock and a condition); here they are made once somebody waits
//           through them. A waiter runs the task itself if no worker has (0.1 us instead of a thread's wake).
// Threads   Under the GIL; `signal` is what waiters without it sleep on.
#pragma once

#include <iterator>

#include "bindings.hpp"
#include "runtime.hpp"
#include "tailrace/sched/blocking_lane.hpp"
#include "tailrace/sched/item.hpp"

namespace tailrace::bindings {

enum class TaskState : std::uint8_t { kPending, kRunning, kCancelled, kNotified, kFinished };

struct FutureObject;

struct TaskItem final : sched::Item {
  explicit TaskItem(FutureObject& f) : future{f} {}
  bool take();  // it leaves the lane; false: the task has begun or ended, or now stands elsewhere in the lane
  void run(sched::Worker* worker) override;
  void complete(base::Outcome outcome) override;
  void drop() override;
  FutureObject& future;
};

struct FutureObject {
  PyObject_HEAD
  TaskItem item;             // the task's own; another is made when it is queued at another priority
  RuntimeObject* runtime;    // owned until the task has ended; null when made by an executor or by hand
  PyObject* executor;        // the same; null when made by a runtime
  PyObject* fn;              // owned, like all below, until the task has ended
  PyObject* few[2];          // the arguments, positional, then keyword values; more than two: a tuple of them all
  PyObject* kwnames;
  PyObject* context;         // captured at submit
  PyObject* result;
  PyObject* exception;
  PyObject* callbacks;       // list
  PyObject* condition;       // made when somebody asks for it
  PyObject* waiters;         // list, for concurrent.futures.wait
  std::uint32_t given;       // how many arguments
  base::atomic<std::uint32_t> signal;  // 0 open, 1 somebody may sleep, 2 ended
  std::uint32_t epoch;  // how many forks had been when it was made
  TaskState state;
  sched::Priority priority;
  bool nested;
  bool driven;               // of a virtual runtime: whoever drives has the GIL
  bool counted;              // in the runtime's ledger
  bool announced;            // ended, and `concurrent.futures.wait` was told: `_state` says so only from then on

  bool ended() const noexcept { return state >= TaskState::kCancelled; }
  PyObject* const* arguments() const noexcept {
    return given <= std::size(few) ? few : reinterpret_cast<PyTupleObject*>(few[0])->ob_item;
  }
  void drop_work();  // the callable, its arguments and its context
};

extern PyTypeObject* future_type;

// A pending future of fn(*args, **kwargs); fn is args[0]. The caller pushes `item`, which owns one reference.
FutureObject* make_task(PyObject* const* args, Py_ssize_t given, PyObject* kwnames);

// In the child of a fork, before anything else of ours: nothing may point to other threads, which are not here.
void after_fork();

// A task that still waits in its queue when its executor breaks fails with what `set_broken` raises.
bool is_broken(PyObject* executor) noexcept;
void set_broken();
extern thread_local sched::BlockingLane* this_lane;  // on a thread of an executor: its lane

// Admits, makes and queues a task; null with an exception set.
PyObject* submit_task(RuntimeObject* runtime, PyObject* const* args, Py_ssize_t given, PyObject* kwnames);

// Lets the garbage collector see the future. One that is queued is held by its queue, so that the collector could only
// walk over it in vain: it is shown once it has something that may lead back to it.
void show_to_collector(FutureObject* future) noexcept;

// Moves a queued task of a runtime to another priority; false when it has begun or ended, or an exception is set.
bool set_priority(FutureObject* future, sched::Priority priority);

// Runs the task on this thread, if nobody has; `worker` is null on any other thread.
void run_task(FutureObject* future, sched::Worker* worker, const char* thread);

// Ends a task: tells who waits for it, then calls its callbacks.
void end_task(FutureObject* future, TaskState state, PyObject* result, PyObject* exception);
void notify_condition(FutureObject* future);

// A task of the process that forked this one has no thread here: who asks for it is told that it is cancelled.
extern std::uint32_t fork_epoch;
inline void settle_left_behind(FutureObject* f) {
  if (f->epoch == fork_epoch || f->ended() || f->fn == nullptr) return;
  f->counted = false;
  end_task(f, TaskState::kNotified, nullptr, nullptr);
}

// The exception that is set goes to the log, as concurrent.futures does with a callback's.
void log_callback_error(PyObject* future);

}  // namespace tailrace::bindings
