// native_step.hpp -- steps whose body is a C function: `int64_t step(void* payload)`, 0 for failure.
//
// What      `NativeCall` says what to call; `PayloadObject` is the block that it works on; `run_native` is the body of
//           such a node in a plan.
// Why       A C function needs no interpreter. A chain of them passes one block on and touches Python only where it ends;
//           a long one leaves the GIL to others, and takes what is ready beside it along, so that it is asked for once.
// Threads   Calls, `Payload` memory and `NativeCell`s may be used without the GIL by who runs the node; all else is under it.
// Checked   tests/python/test_native_steps.py.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "bindings.hpp"
#include "plan.hpp"
#include "tailrace/flow/run.hpp"

namespace tailrace::bindings {

struct RunBlock;

using NativeFunction = std::int64_t (*)(void* payload);

enum class NativeGil : int { kAuto = 0, kHolds = 1, kReleases = 2 };

// From here on (all that would be done meanwhile, together) the GIL is let go of: a thread that lets go of it may wait a
// whole switch interval to come back, and below this others gain less from it.
inline constexpr std::int64_t kReleaseNs = 20'000;

struct NativeCall {
  NativeFunction function;
  std::size_t payload_bytes;
  NativeGil gil;
  std::uint32_t turns = 0;  // passes that were not timed step by step, since one was
};

// Memory for payloads, aligned to a cache line, kept for the next one in classes of powers of two. Any thread.
void* take_payload_memory(std::size_t bytes);
void give_payload_memory(void* memory, std::size_t bytes) noexcept;

struct PayloadObject {
  PyObject_HEAD
  void* memory;  // owned
  std::size_t bytes;
};

extern PyTypeObject* payload_type;
PyObject* make_payload(std::size_t bytes);  // zeroed
PyObject* adopt_payload(void* memory, std::size_t bytes);  // takes the memory over, also when it returns null

// What was done for a node before its turn came to be booked. Without the GIL it is its runner's; it is read under the
// GIL, which that one has taken since.
struct NativeCell {
  enum class State : std::uint8_t { kNone, kOk, kFailed };
  State state = State::kNone;
  bool timed = false;
  bool last = false;  // of those that were called in a row
  void* owned = nullptr;  // a copy made for this node
  std::int64_t began_ns = 0;
  std::int64_t ended_ns = 0;
};

// The body of a native node of a Python plan.
base::Verdict run_native(flow::Run& run, flow::NodeIndex node, void* arg, sched::Worker* worker);

// Would a second thread help with a node like this one?
bool worth_another(const NodeSpec& spec) noexcept;

// Which nodes of a new plan are native, and which must copy what they are given; false with an exception set.
bool prepare_native(PlanObject* plan);
// What is left of a run that did not end well.
void forget_cells(RunBlock& block) noexcept;

void raise_native_failure(PyObject* name);

}  // namespace tailrace::bindings
