// awaiting.hpp -- `await` of a run or a task: what the coroutine iterates over, and how it is woken.
//
// What      `Ready` is done at once; `Waiter` waits on a future of the running loop and is handed to that loop's
//           Completions when its target has ended.
// Why       An awaiter costs one small object and one loop future; 64 that end together cost their loop one wake-up.
// Threads   Under the GIL. The iterator's methods: the loop's thread; wake_waiter: whoever ends the target.
#pragma once

#include "bindings.hpp"

namespace tailrace::bindings {

struct RunBlock;
struct FutureObject;

// An iterator that ends at once, or after one turn of the loop, with `value`, which is stolen; null in, null out.
PyObject* make_ready(PyObject* value);

// What `await` iterates over while the target has not ended well; `run` and `future` are the Python objects.
PyObject* await_run(PyObject* run, RunBlock* block);
PyObject* await_future(PyObject* future);

// A waiter stands among the callbacks of its target; it is no code of the user's, and is only put on its loop's list.
bool is_waiter(PyObject* callback) noexcept;
void wake_waiter(PyObject* waiter);

// Puts `item` on the list of a Completions; wakes the loop when it is the first. False with an exception set.
bool post_completion(PyObject* completions, PyObject* item);
// On the loop's thread: sets the loop's future of a waiter that was posted; false with an exception set.
bool deliver_waiter(PyObject* waiter);

}  // namespace tailrace::bindings
