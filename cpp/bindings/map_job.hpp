// map_job.hpp -- the items of one `Executor.map`, from which the executor's threads take one after the other.
//
// What      A ring of slots: an argument until it is taken, then nothing while it runs, then the result or exception.
// Why       A future for each item costs more than most items. Here an item is a slot, a thread runs items for as long as
//           it has the GIL, and another thread is called each time one begins, so that items that block overlap.
// Threads   Under the GIL; `word` is what a consumer without it sleeps on.
// Checked   tests/python/test_executor_map.py.
#pragma once

#include <vector>

#include "bindings.hpp"
#include "context.hpp"
#include "tailrace/base/atomic.hpp"
#include "tailrace/sched/blocking_lane.hpp"

namespace tailrace::bindings {

class MapJob {
 public:
  // Takes over what is in `items` (a list). `single`: an item is the argument, else a tuple of arguments. `source`: an
  // iterator of the items that follow, one for each result that is given, or null. `stopped`: of the executor, which
  // `executor` keeps alive. Null with an exception set.
  static MapJob* make(PyObject* executor, sched::BlockingLane& lane, int max_workers, const bool& stopped, PyObject* fn,
                      bool single, PyObject* items, PyObject* source);

  // The next result, a new reference; null with an exception set, or without one at the end.
  PyObject* next(std::int64_t deadline_ns);
  // Nobody wants further results: what has not begun never will.
  void close();
  void release();
  int traverse(visitproc visit, void* arg) const;

  bool started = false;  // a result was asked for: from here on to drop the iterator is to cancel
  std::uint64_t filled() const noexcept { return filled_; }

 private:
  struct Puller;

  MapJob() = default;
  ~MapJob() noexcept(false);
  PyObject*& slot(std::uint64_t index) noexcept { return slots_[index % slots_.size()]; }
  void cancel();
  bool feed();
  void call_puller();
  void pull();
  void run_one(std::uint64_t index);
  PyObject* give();
  void drop_executor();

  // A slot holds an owned reference; the lowest bit says that it is an exception.
  static PyObject* tagged(PyObject* error) noexcept {
    return reinterpret_cast<PyObject*>(reinterpret_cast<std::uintptr_t>(error) | 1);
  }
  static bool is_tagged(PyObject* held) noexcept { return (reinterpret_cast<std::uintptr_t>(held) & 1) != 0; }
  static PyObject* untagged(PyObject* held) noexcept {
    return reinterpret_cast<PyObject*>(reinterpret_cast<std::uintptr_t>(held) & ~std::uintptr_t{1});
  }

  int references_ = 1;
  PyObject* executor_ = nullptr;  // owned, while anything may still begin
  sched::BlockingLane* lane_ = nullptr;
  const bool* stopped_ = nullptr;  // these two live as long as a thread of the lane, or executor_
  int max_workers_ = 0;
  int pullers_ = 0;
  bool called_ = false;  // a puller is on its way: it calls the next
  bool single_ = false;
  bool closed_ = false;  // by who iterates
  bool cut_ = false;  // by the executor's shutdown
  bool broken_ = false;  // ... because an initializer failed
  PyObject* fn_ = nullptr;
  PyObject* context_ = nullptr;
  PyObject* source_ = nullptr;
  std::vector<PyObject*> slots_;
  std::uint64_t filled_ = 0;  // items that came
  std::uint64_t taken_ = 0;  // items that began
  std::uint64_t given_ = 0;  // results that went
  int sleepers_ = 0;
  base::atomic<std::uint32_t> word_{0};  // bumped when the result that is waited for is there
};

// The iterator over a job, which it takes over; `deadline_ns` is monotonic. Null with an exception set.
PyObject* make_map_iterator(MapJob* job, std::int64_t deadline_ns);

void bind_map(PyObject* module);

}  // namespace tailrace::bindings
