// outcome.hpp -- how a unit of work ends: one of five ways, fixed once.
//
// What      The outcome of a run, task or item, and the verdict a body returns for one node.
// Why       Exact accounting: submitted = ok + failed + cancelled + rejected + timed_out + in_flight.
// Threads   Values only.
#pragma once

#include <cstdint>

namespace tailrace::base {

enum class Outcome : std::uint8_t {
  kPending = 0,  // not an end: still in flight
  kOk,
  kFailed,
  kCancelled,
  kRejected,
  kTimedOut,
};

inline constexpr int kOutcomeCount = 6;

constexpr const char* name(Outcome outcome) noexcept {
  constexpr const char* kNames[kOutcomeCount] = {"pending", "ok", "failed", "cancelled", "rejected", "timed_out"};
  return kNames[static_cast<int>(outcome)];
}

// What a node's body says when it returns to the executor.
enum class Verdict : std::uint8_t {
  kDone,      // finished: its successors may start
  kFailed,    // finished with an error that the body has stored
  kDeferred,  // somebody else will finish this node later
};

}  // namespace tailrace::base
