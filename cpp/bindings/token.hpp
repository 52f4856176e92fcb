// token.hpp -- the C struct behind `_core.NodeToken`: an async step that somebody must finish, once.
//
// What      Whose step it is, which run it waits for, and its place among the run's unfinished ones.
// Why       A wait that can never end is found by going from runs to what they wait for, async steps included. An async
//           step has no frame: its loop runs it in pieces. A mark in its context says where it belongs, so that what it
//           starts is nested, uses its runtime and inherits its deadline.
// Threads   Under the GIL.
#pragma once

#include "run_block.hpp"

namespace tailrace::bindings {

struct TokenObject {
  PyObject_HEAD
  RunBlock* block;  // null: finished
  flow::NodeIndex node;
  EachPart* part;  // of a tr.each; else null
  Py_ssize_t item;
  PyObject* context;
  PyObject* on_cancel;
  PyObject* task;  // a weak reference to the loop's, once it is made
  unsigned long ident;  // of the loop's thread, then
  PyObject* mark;  // what the context carries: knows this token until the step has ended
  RuntimeObject* runtime;
  PyObject* workflow;
  PyObject* step;
  RunBlock* waits_for;  // the run that the step's own task awaits
  TokenObject* next;  // among the run's unfinished ones; the list owns nothing, so that a dropped task is noticed
};

// The unfinished async step whose context is current on this thread, or null. One comparison while there is none.
TokenObject* running_token() noexcept;
// The same, if to block this thread blocks the loop that the step runs on: whichever of its tasks does it.
TokenObject* token_held_up_here() noexcept;

}  // namespace tailrace::bindings
