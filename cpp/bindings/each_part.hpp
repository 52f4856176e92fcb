// each_part.hpp -- `tr.each` under way: its items, who has taken which, what has come of them.
//
// What      One index that counts up: whoever works on the run takes the next item, calls the body, keeps the result.
// Why       A thousand short bodies must cost a thousand calls: no node, counter or object for an item but its result.
//           Long ones spread as ready nodes do: who begins one while others wait invites another worker.
// Threads   Under the GIL. Whoever works on a part holds a reference of its run, which owns the part.
// Checked   tests/python/test_each*.py: properties against a list comprehension, real and in virtual time.
#pragma once

#include <vector>

#include "run_block.hpp"

namespace tailrace::bindings {

inline constexpr Py_ssize_t kMaxItems = 100'000;

struct EachPart {
  EachPart(RunBlock& b, const NodeSpec& s, flow::NodeIndex n) : block{b}, spec{s}, node{n} {}
  // Is there an item that nobody has taken, or, after the run has ended, one that nobody has given up?
  bool is_open() const noexcept { return !closed && next < count; }
  NodeRecord& record(Py_ssize_t item) noexcept {
    return records.empty() ? unseen : records[static_cast<std::size_t>(item)];
  }

  RunBlock& block;
  const NodeSpec& spec;
  const flow::NodeIndex node;
  PyObject* items = nullptr;    // owned tuple
  PyObject* results = nullptr;  // owned list, unknown to the collector until it is full
  Py_ssize_t count = 0;
  Py_ssize_t next = 0;   // the first item that nobody has taken
  Py_ssize_t ended = 0;  // of those taken
  int active = 0;        // who may take more
  bool closed = false;
  std::vector<NodeRecord> records;  // of the items; empty when nobody can ask for them
  NodeRecord unseen;
  EachPart* next_part = nullptr;  // of the run
  EachPart* next_open = nullptr;  // of the run's that are open, as far as is known
};

// The body of a tr.each node.
base::Verdict run_each(RunBlock& block, const NodeSpec& spec, flow::NodeIndex node, sched::Worker* worker);

// One that is open, or null.
EachPart* open_part_of(RunBlock& block) noexcept;

// Takes items and runs them as long as this thread's pass allows; returns a node to go on with when that ended the part.
flow::NodeIndex work_on(EachPart& part, sched::Worker* worker);

// Virtual runtime: the next ready node, or the next item.
void run_virtual(RunBlock& block, sched::Worker* worker);

// An item has ended with `value`, or raised `error`; both owned, one is null.
void end_item(EachPart& part, Py_ssize_t item, PyObject* value, PyObject* error);
// ... and if it was the last, the run goes on here for a moment.
void go_on_after_item(EachPart& part);

void free_parts(RunBlock& block);

}  // namespace tailrace::bindings
