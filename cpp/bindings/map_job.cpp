// GIL       Threads let go of it while they sleep, a puller also every few milliseconds, as a callable written in C
//           never does by itself.
// Lifetime  A job belongs to its iterator and to the pullers that are queued or run; the last one frees it.
#include "map_job.hpp"

#include "core_section.hpp"
#include "frame.hpp"
#include "future.hpp"
#include "gil_gate.hpp"

namespace tailrace::bindings {

namespace {

void raise_cancelled() {
  const Ref module = Ref::steal(PyImport_ImportModule("concurrent.futures"));
  const Ref type = Ref::steal(module ? PyObject_GetAttrString(module.get(), "CancelledError") : nullptr);
  if (type) PyErr_SetString(type.get(), "the executor was shut down with cancel_futures before this item began");
}

}  // namespace

// A thread of the executor at work for this job.
struct MapJob::Puller final : sched::Item {
  explicit Puller(MapJob& j) : job{j} { ++job.references_; }

  void run(sched::Worker*) override {
    attach_thread();
    job.called_ = false;
    job.pull();
    drop();
    detach_thread();
  }
  void complete(base::Outcome) override {  // the executor was shut down, and does not want what has not begun
    job.cut_ = true;
    job.broken_ = job.executor_ != nullptr && is_broken(job.executor_);
    job.cancel();
    drop();
  }
  void drop() override {
    MapJob& held = job;
    delete this;
    --held.pullers_;
    held.release();
  }

  MapJob& job;
};

MapJob* MapJob::make(PyObject* executor, sched::BlockingLane& lane, int max_workers, const bool& stopped, PyObject* fn,
                     bool single, PyObject* items, PyObject* source) {
  PyObject* const context = capture_context();
  if (context == nullptr) return nullptr;
  auto* job = new MapJob;
  job->executor_ = Py_NewRef(executor);
  job->lane_ = &lane;
  job->stopped_ = &stopped;
  job->max_workers_ = max_workers;
  job->single_ = single;
  job->fn_ = Py_NewRef(fn);
  job->context_ = context;
  job->source_ = Py_XNewRef(source);
  const Py_ssize_t count = PyList_GET_SIZE(items);
  job->slots_.resize(static_cast<std::size_t>(count + 1));  // one more: a result is replaced before it is given
  for (Py_ssize_t i = 0; i < count; ++i)
    job->slots_[static_cast<std::size_t>(i)] = Py_NewRef(PyList_GET_ITEM(items, i));
  job->filled_ = static_cast<std::uint64_t>(count);
  job->call_puller();
  return job;
}

MapJob::~MapJob() noexcept(false) {
  for (std::uint64_t i = given_; i < filled_; ++i) Py_XDECREF(untagged(slot(i)));
  Py_XDECREF(fn_);
  if (context_ != nullptr) drop_context(context_);
  Py_XDECREF(source_);
  Py_XDECREF(executor_);
}

void MapJob::release() {
  if (--references_ == 0) delete this;
}

int MapJob::traverse(visitproc visit, void* arg) const {
  if (references_ > 1) return 0;  // a thread of the executor has it too
  Py_VISIT(executor_);
  Py_VISIT(fn_);
  Py_VISIT(source_);
  for (std::uint64_t i = given_; i < filled_; ++i) Py_VISIT(untagged(slots_[i % slots_.size()]));
  return 0;
}

void MapJob::close() {
  closed_ = true;
  cancel();
}

void MapJob::cancel() {
  std::vector<PyObject*> dropped;  // a finalizer may come back here
  for (; taken_ < filled_; filled_--) dropped.push_back(std::exchange(slot(filled_ - 1), nullptr));
  PyObject* const source = std::exchange(source_, nullptr);
  word_.fetch_add(1, base::relaxed);  // relaxed: the GIL carries what there is to see
  if (sleepers_ > 0) base::StdAtomics::unpark(word_, INT32_MAX);
  for (PyObject* each : dropped) Py_XDECREF(each);
  Py_XDECREF(source);
  drop_executor();
}

// The executor is needed only while something may begin.
void MapJob::drop_executor() {
  if (source_ == nullptr && taken_ == filled_) Py_CLEAR(executor_);
}

// One more thread, unless the items are too few or the executor has no more.
void MapJob::call_puller() {
  if (called_ || taken_ == filled_ || pullers_ >= max_workers_ || executor_ == nullptr) return;
  called_ = true;
  ++pullers_;
  auto* puller = new Puller{*this};
  if (!lane_->submit(puller)) {  // shut down: those that live go on
    called_ = false;
    if (pullers_ == 1) return puller->complete(base::Outcome::kCancelled);
    puller->drop();
  }
}

// Runs items until there are none.
void MapJob::pull() {
  constexpr std::int64_t kSliceNs = 5'000'000;  // CPython's switch interval
  OwnContext context;
  bool inside = false;
  std::int64_t began_ns = base::monotonic_ns();
  for (std::uint32_t ran = 1; taken_ < filled_; ++ran) {
    if (*stopped_) {
      cut_ = true;
      cancel();
      break;
    }
    const std::uint64_t index = taken_++;
    call_puller();
    inside = inside ? context.renew() : context.enter(context_, false);
    if (inside) {
      run_one(index);
    } else {
      slot(index) = tagged(take_raised());
    }
    if (sleepers_ > 0 && index == given_) {
      word_.fetch_add(1, base::relaxed);  // relaxed: the GIL carries the result
      base::StdAtomics::unpark(word_, INT32_MAX);
    }
    if (ran % 64 == 0 && base::monotonic_ns() - began_ns > kSliceNs) {
      detach_thread();
      attach_thread();
      began_ns = base::monotonic_ns();
    }
  }
  if (inside) context.leave();
  drop_executor();
}

void MapJob::run_one(std::uint64_t index) {
  const Ref item = Ref::steal(std::exchange(slot(index), nullptr));
  PyObject* value = nullptr;
  if (single_) {
    PyObject* stack[2] = {nullptr, item.get()};
    value = outside([&] { return PyObject_Vectorcall(fn_, stack + 1, 1 | PY_VECTORCALL_ARGUMENTS_OFFSET, nullptr); });
  } else {
    auto* const tuple = reinterpret_cast<PyTupleObject*>(item.get());
    const auto given = static_cast<std::size_t>(Py_SIZE(tuple));
    value = outside([&] { return PyObject_Vectorcall(fn_, tuple->ob_item, given, nullptr); });
  }
  slot(index) = value != nullptr ? value : tagged(take_raised());
}

// Takes one item from the source; false with an exception set.
bool MapJob::feed() {
  if (source_ == nullptr || filled_ - given_ == slots_.size()) return true;
  const Ref source = Ref::borrow(source_);
  PyObject* const item = outside([&] { return PyIter_Next(source.get()); });
  if (item == nullptr) {
    if (source_ != nullptr) Py_CLEAR(source_);
    drop_executor();
    return PyErr_Occurred() == nullptr;
  }
  if (closed_ || cut_) return Py_DECREF(item), true;  // meanwhile
  slot(filled_) = item;
  ++filled_;
  call_puller();
  return true;
}

PyObject* MapJob::give() {
  PyObject* const held = std::exchange(slot(given_), nullptr);
  ++given_;
  if (!is_tagged(held)) return held;
  close();
  const Ref error = Ref::steal(untagged(held));
  raise(error.get());
  return nullptr;
}

PyObject* MapJob::next(std::int64_t deadline_ns) {
  started = true;
  if (closed_) return nullptr;
  if (!feed()) return close(), nullptr;
  for (;;) {
    if (closed_) return nullptr;
    if (given_ == filled_) {
      close();
      if (cut_) (broken_ ? set_broken() : raise_cancelled());
      return nullptr;
    }
    if (given_ < taken_ && slot(given_) != nullptr) return give();
    const std::uint32_t seen = word_.load(base::relaxed);  // relaxed: bumped under the GIL
    if (top_frame != nullptr) top_frame->begin_wait();
    ++sleepers_;
    const int woken = wait_without_gil(deadline_ns, [&](std::int64_t timeout_ns) {
      base::StdAtomics::park(word_, seen, timeout_ns);
      return word_.load(base::relaxed) != seen;  // relaxed: as above
    });
    --sleepers_;
    if (top_frame != nullptr) top_frame->end_wait();
    if (woken == 1) continue;
    if (woken == 0) PyErr_SetString(PyExc_TimeoutError, "map(timeout=) has passed; what has not begun is cancelled");
    return close(), nullptr;
  }
}

}  // namespace tailrace::bindings
