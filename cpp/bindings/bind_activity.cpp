// bind_activity.cpp -- `_core.in_flight`, `work_begun`, `bodies_running`, `wait_idle`, `nudge_idle`: for the GC guard.
//
// GIL       wait_idle gives it up while it sleeps; the others hold it for nanoseconds.
// Lifetime  One for the process, never destroyed: threads may outlive the exit.
#include "activity.hpp"

#include <algorithm>
#include <cstring>
#include <stdexcept>
#include <utility>

#include "bindings.hpp"
#include "frame.hpp"
#include "tailrace/base/clock.hpp"

namespace tailrace::bindings {

constinit Activity activity;

namespace {

constexpr std::int64_t kLookNs = 10'000'000;       // between two looks while there is work
constexpr std::int64_t kLingerNs = 1'000'000'000;  // of rest, before the end of the next run has to wake the sleeper

}  // namespace

void Activity::wake() noexcept {
  asleep_ = false;
  // relaxed: the word carries nothing; what the sleeper goes by is read with the GIL, or is a hint.
  word_.store(word_.load(base::relaxed) + 1, base::relaxed);
  base::StdAtomics::unpark(word_, 1);
}

void Activity::after_fork() noexcept {
  begun_.store(ended_.load(base::relaxed), base::relaxed);
  asleep_ = nudged_ = false;
}

bool Activity::has_news(std::uint64_t seen, std::uint32_t word) const noexcept {
  return begun() != seen || word_.load(base::relaxed) != word;
}

// Requests that come every now and then shall not pay for a wake.
bool Activity::linger(std::uint64_t seen, std::uint32_t word) const {
  std::int64_t rested = 0;
  for (std::int64_t look = kLookNs; rested < kLingerNs; rested += look, look *= 2) {
    if (has_news(seen, word)) return true;
    base::StdAtomics::park(word_, word, look);
  }
  return has_news(seen, word);
}

bool Activity::is_quiet_within(std::uint32_t word, std::int64_t quiet_ns, std::int64_t limit_ns) const {
  const std::int64_t until = base::monotonic_ns() + limit_ns;
  for (;;) {
    const std::uint64_t before = begun();
    if (in_flight() == 0) {
      base::StdAtomics::park(word_, word, quiet_ns);
      if (begun() == before && word_.load(base::relaxed) == word) return true;
    }
    const std::int64_t left = until - base::monotonic_ns();
    if (left <= 0 || word_.load(base::relaxed) != word) return false;
    base::StdAtomics::park(word_, word, std::min(kLookNs, left));
  }
}

bool Activity::wait_idle(std::uint64_t seen, std::int64_t quiet_ns, std::int64_t limit_ns) {
  if (std::exchange(nudged_, false)) return false;
  const std::uint32_t word = word_.load(base::relaxed);
  PyThreadState* saved = PyEval_SaveThread();
  const bool news = linger(seen, word);
  PyEval_RestoreThread(saved);
  if (!news &&
      !has_news(seen, word)) {  // with the GIL again: nobody begins or ends a run between the look and the mark
    asleep_ = true;
    saved = PyEval_SaveThread();
    while (word_.load(base::relaxed) == word) base::StdAtomics::park(word_, word, -1);
    PyEval_RestoreThread(saved);
  }
  if (std::exchange(nudged_, false)) return false;
  const std::uint32_t now = word_.load(base::relaxed);
  saved = PyEval_SaveThread();
  const bool quiet = is_quiet_within(now, quiet_ns, limit_ns);
  PyEval_RestoreThread(saved);
  return !std::exchange(nudged_, false) && quiet;
}

namespace {

std::int64_t nanoseconds(double seconds) { return static_cast<std::int64_t>(std::clamp(seconds, 0.0, 9e9) * 1e9); }

PyObject* in_flight(PyObject*, PyObject*) { return PyLong_FromUnsignedLongLong(activity.in_flight()); }

PyObject* work_begun(PyObject*, PyObject*) { return PyLong_FromUnsignedLongLong(activity.begun()); }

// A blocking body waits, as a rule, and an async one has no frame: only bodies that compute count.
PyObject* bodies_running(PyObject*, PyObject*) {
  long running = 0;
  for (const Frame* frame = all_frames; frame != nullptr; frame = frame->next) {
    running += frame->is_body() && std::strcmp(frame->thread, kBlockingThread) != 0;
  }
  return PyLong_FromLong(running);
}

PyObject* nudge_idle(PyObject*, PyObject*) {
  activity.nudge();
  Py_RETURN_NONE;
}

PyObject* wait_idle(PyObject*, PyObject* args) {
  unsigned long long seen = 0;
  double quiet_s = 0;
  double limit_s = 0;
  if (!PyArg_ParseTuple(args, "Kdd:wait_idle", &seen, &quiet_s, &limit_s)) return nullptr;
  return PyBool_FromLong(activity.wait_idle(seen, nanoseconds(quiet_s), nanoseconds(limit_s)));
}

PyMethodDef functions[] = {
    {"in_flight", guarded<in_flight>, METH_NOARGS,
     "in_flight($module, /)\n--\n\nRuns and tasks that all runtimes of the process have in flight."},
    {"work_begun", guarded<work_begun>, METH_NOARGS,
     "work_begun($module, /)\n--\n\nRuns and tasks that ever began in this process."},
    {"bodies_running", guarded<bodies_running>, METH_NOARGS,
     "bodies_running($module, /)\n--\n\nBodies that run now, but for async and blocking ones."},
    {"wait_idle", guarded<wait_idle>, METH_VARARGS,
     "wait_idle($module, seen, quiet_s, limit_s, /)\n--\n\nSleep until work has begun since `seen` and none has been "
     "in "
     "flight for `quiet_s` (True); False after `limit_s` of work, or a nudge."},
    {"nudge_idle", guarded<nudge_idle>, METH_NOARGS,
     "nudge_idle($module, /)\n--\n\nMake the wait_idle that sleeps, or the next one, return."},
    {nullptr, nullptr, 0, nullptr},
};

}  // namespace

void bind_activity(PyObject* module) {
  if (PyModule_AddFunctions(module, functions) != 0) throw std::runtime_error{"tailrace: no memory for its functions"};
}

}  // namespace tailrace::bindings
