// plan.hpp -- the C struct behind `_core.Plan`: a compiled graph of Python steps.
//
// What      A flow::Plan whose nodes carry argument recipes, and the free blocks of its runs.
// Why       What does not change from call to call is worked out once: slots, constants, keyword names.
// Threads   Immutable but for the list of free blocks and the estimate, which are under the GIL.
#pragma once

#include <memory>
#include <vector>

#include "bindings.hpp"
#include "step.hpp"
#include "tailrace/flow/plan.hpp"

namespace tailrace::bindings {

struct RunBlock;

struct NodeSpec {
  StepObject* step;                // owned
  PyObject* label;                 // owned
  PyObject* kwnames;               // owned tuple, or null
  std::vector<int> slots;          // -1: the constant at the same place
  std::vector<PyObject*> consts;   // owned
  std::vector<int> after;          // order without data
  bool is_each;                    // tr.each: the first argument is what to call the step for, item by item
  bool native = false;             // runs its step's C function on a payload
  bool copies = false;             // ... of its own, as others read the one that it is given
  std::vector<int> before;         // whose end makes it ready: each given number once
};

struct PlanObject {
  PyObject_HEAD
  PyObject* name;
  flow::Plan* graph;
  std::vector<NodeSpec>* specs;  // by given number
  int arg_count;
  int output;
  bool has_async;
  bool has_native;
  RunBlock* free_blocks;
  int free_count;
  std::uint32_t starts;      // since the estimate was made
  bool is_short;             // all steps are known, and together they fit the budget of a loop thread
  bool spreads;              // a step of it opens the gate, or runs elsewhere
};

extern PyTypeObject* plan_type;

// Do all steps together take less than kShortNs, as far as is known?
bool plan_is_short(PlanObject* plan);
// Could another thread do something useful for a run beside the one that has it?
bool plan_spreads(PlanObject* plan);

}  // namespace tailrace::bindings
