// token.hpp -- the C struct behind `_core.NodeToken`: an async step that somebody must finish, once.
//
// What      Whose step it is, which run it waits for, and its place among the run's unfinished ones.
// Why       A wait that can never end is found by going from runs to what they wait for, async steps included.
// Threads   Under the GIL.
#pragma once

#include "run_block.hpp"

namespace tailrace::bindings {

struct TokenObject {
  PyObject_HEAD
  RunBlock* block;  // null: finished
  flow::NodeIndex node;
  EachPart* part;   // of a tr.each; else null
  Py_ssize_t item;
  PyObject* context;
  PyObject* on_cancel;
  RuntimeObject* runtime;
  PyObject* workflow;
  PyObject* step;
  RunBlock* waits_for;  // the run that the step's own task awaits
  TokenObject* next;  // among the run's unfinished ones; the list owns nothing, so that a dropped task is noticed
};

}  // namespace tailrace::bindings
