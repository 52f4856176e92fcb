// context.hpp -- the caller's context, captured at submit, and each attempt's own copy of it.
//
// What      A copy of the context that is current (`capture_context`), and its use by one body (`OwnContext`).
// Why       A copy costs 27 ns and 64 bytes that the collector looks at. Nobody can tell one copy from another while
//           nobody has set a variable in it: tasks that were submitted under the same variables share what was captured,
//           and a copy that its body left unchanged serves the next body.
// Threads   Under the GIL; on a free-threaded build nothing is shared and every call makes its copy.
// Checked   tests/python/test_context.py (a body that sets a variable, between two that look).
#pragma once

#include "bindings.hpp"

namespace tailrace::bindings {

// A new reference to a context equal to the current one; null with an exception set.
PyObject* capture_context();

// Gives a captured context back.
void drop_context(PyObject* captured);

// The copy that one body runs in. Not a destructor's work: a thread that is ended at exit unwinds without the GIL.
class OwnContext {
 public:
  // `last`: nobody will run with `captured` after this body, so that its only owner may run in it. False with an
  // exception set.
  bool enter(PyObject* captured, bool last);
  // Between two bodies of one caller: goes on in the same copy if the last body left it unchanged, else in a new one.
  bool renew();
  void leave();

 private:
  PyObject* captured_ = nullptr;  // borrowed: its owner keeps it until after `leave`
  PyObject* own_ = nullptr;
};

// When the module loads: may contexts be compared?
void find_context_layout();

}  // namespace tailrace::bindings
