#include "waits.hpp"

#include "token.hpp"

namespace tailrace::bindings {

namespace {

bool is_inside(const Frame* frame, const RunBlock* run) {
  while (frame != nullptr && frame->block != run) frame = frame->outer;
  return frame != nullptr;
}

// Looks for a way from `wanted` back to who is about to wait, and notes on the way back who waits for what.
class CircleSearch {
 public:
  CircleSearch(const Frame* frame, const TokenObject* token) : frame_{frame}, token_{token} {}

  bool leads_back(const RunBlock* wanted) {
    if (wanted->done()) return false;
    if (is_inside(frame_, wanted) || (token_ != nullptr && token_->block == wanted)) return true;
    for (const Frame* other = all_frames; other != nullptr; other = other->next) {
      if (other->waits_for == nullptr || !is_inside(other, wanted) || !leads_back(other->waits_for)) continue;
      return note(other->label, other->block, other->waits_for), true;
    }
    for (const TokenObject* other = wanted->tokens; other != nullptr; other = other->next) {
      if (other->waits_for == nullptr || !leads_back(other->waits_for)) continue;
      return note(other->step, wanted, other->waits_for), true;
    }
    return false;
  }

  // (step, its workflow, the workflow it waits for), put before those that are there.
  void note(PyObject* step, const RunBlock* run, const RunBlock* wanted) {
    const Ref one = Ref::steal(run != nullptr ? Py_BuildValue("(OOO)", step, run->plan->name, wanted->plan->name)
                                              : Py_BuildValue("(OsO)", step, "submit", wanted->plan->name));
    if (!waits_) waits_ = Ref::steal(PyList_New(0));
    if (one && waits_) PyList_Insert(waits_.get(), 0, one.get());
  }

  PyObject* waits() const noexcept { return waits_ ? waits_.get() : Py_None; }

 private:
  const Frame* const frame_;
  const TokenObject* const token_;
  Ref waits_;  // a list, made when there is something to note
};

}  // namespace

bool refuse_deadlock(RunBlock* wanted, const TokenObject* token) {
  if (top_frame == nullptr && token == nullptr) return false;
  CircleSearch search{top_frame, token};
  if (!search.leads_back(wanted)) return false;
  if (token != nullptr) {
    search.note(token->step, token->block, wanted);
  } else {
    search.note(top_frame->label, top_frame->block, wanted);
  }
  raise_hooked("deadlock", Py_BuildValue("{s:O}", "waits", search.waits()));
  return true;
}

}  // namespace tailrace::bindings
