// failures.cpp -- what the bodies of a run have raised, and what those who wait for the run get for it.
//
// Lifetime  The run keeps the originals as they were raised; each who waits gets a fresh exception that leads to them.
#include "run_block.hpp"

namespace tailrace::bindings {

namespace {

constexpr std::size_t kMaxFailures = 64;  // kept of a run: what ended it, and those that came in while it ended

bool is_ordinary(PyObject* error) { return PyErr_GivenExceptionMatches(error, PyExc_Exception) != 0; }

// KeyboardInterrupt and its like go to who waits as they are: no context is added, and the frames of those who waited
// before are forgotten.
void raise_unchanged(const Failure& failure) {
  PyException_SetTraceback(failure.error, failure.traceback != nullptr ? failure.traceback : Py_None);
#if PY_VERSION_HEX >= 0x030C0000
  PyErr_SetRaisedException(Py_NewRef(failure.error));
#else
  PyErr_Restore(Py_NewRef(reinterpret_cast<PyObject*>(Py_TYPE(failure.error))), Py_NewRef(failure.error),
                Py_XNewRef(failure.traceback));
#endif
}

// [(step, attempt, cause), ...]
PyObject* describe(const RunBlock* block) {
  Ref list = Ref::steal(PyList_New(0));
  for (std::size_t i = 0; list && i < block->failures.size(); ++i) {
    const Failure& failure = block->failures[i];
    const Ref label = Ref::steal(item_label(block, failure.node, failure.item));
    const Ref one = Ref::steal(label ? Py_BuildValue("(OiO)", label.get(), 1, failure.error) : nullptr);
    if (!one || PyList_Append(list.get(), one.get()) != 0) return nullptr;
  }
  return list.release();
}

}  // namespace

void keep_failure(RunBlock& block, PyObject* error, int node, Py_ssize_t item) {
  // Once the run has ended, only what else has failed is of interest: bodies that were told to stop did not fail.
  const base::Outcome outcome = block.run.ending.outcome();
  const bool is_late = outcome != base::Outcome::kPending;
  if (is_late && (outcome != base::Outcome::kFailed || !is_ordinary(error) || block.failures.size() >= kMaxFailures)) {
    Py_DECREF(error);
    return;
  }
  block.failures.push_back({error, PyException_GetTraceback(error), node, item});
}

void clear_failures(RunBlock& block) {
  std::vector<Failure> gone;
  gone.swap(block.failures);
  for (const Failure& failure : gone) {
    Py_XDECREF(failure.traceback);
    Py_DECREF(failure.error);
  }
}

bool is_interrupted(const RunBlock& block) {
  return !block.failures.empty() &&
         PyErr_GivenExceptionMatches(block.failures.front().error, PyExc_KeyboardInterrupt) != 0;
}

base::Outcome outcome_of(const RunBlock& block) {
  return is_interrupted(block) ? base::Outcome::kCancelled : base::Outcome::kFailed;
}

PyObject* item_label(const RunBlock* block, int node, Py_ssize_t item) {
  const NodeSpec& spec = (*block->plan->specs)[static_cast<std::size_t>(node)];
  if (item >= 0) return PyUnicode_FromFormat("%U[%zd]", spec.label, item);
  return spec.is_each ? PyUnicode_FromFormat("each %U", spec.label) : Py_NewRef(spec.label);
}

void raise_ending(RunBlock* block) {
  PyObject* workflow = block->plan->name;
  const base::Outcome outcome = block->run.ending.outcome();
  if (outcome == base::Outcome::kTimedOut) {
    return raise_hooked("timed_out", Py_BuildValue("{s:O,s:d}", "workflow", workflow, "deadline_s", block->deadline_s));
  }
  // An ordinary error of a cancelled run is of a body that failed while the cancel was made, and came second.
  if (!block->failures.empty() && !is_ordinary(block->failures.front().error)) {
    return raise_unchanged(block->failures.front());
  }
  if (outcome != base::Outcome::kFailed) {
    return raise_hooked("cancelled", Py_BuildValue("{s:O}", "workflow", workflow));
  }
  raise_hooked("step_failed", Py_BuildValue("{s:O,s:N}", "workflow", workflow, "failures", describe(block)));
}

}  // namespace tailrace::bindings
