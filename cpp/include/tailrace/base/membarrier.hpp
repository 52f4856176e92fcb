// membarrier.hpp -- one thread pays for the ordering of all: a full barrier on every core that runs this process.
//
// What      `membarrier_works`, asked once for the process; `membarrier`, the barrier itself.
// Why       A producer that publishes thousands of items a millisecond should not pay for each what a worker that goes to
//           sleep can pay once. It costs 0.5 to 10 us (docs/measuring.md), less than the sleep that follows it.
// Threads   Any. False where the kernel lacks it, where a filter forbids it, with TAILRACE_MEMBARRIER=0 and under
//           ThreadSanitizer, which does not know it: the caller then uses sequentially consistent stores instead.
// Checked   tests/model/litmus.cpp (what it promises, and what it does not), tests/cpp/base/test_membarrier.cpp.
#pragma once

namespace tailrace::base {

// Registers the process at the first call; later calls, also after a fork, give the same answer.
bool membarrier_works() noexcept;

// All that this thread did before is seen by what any other thread of the process does after some moment during the call,
// and all that it did before that moment is seen by what this thread does after the call. False: the call is forbidden
// by now (a filter was installed after the first call), and nothing is ordered.
bool membarrier() noexcept;

}  // namespace tailrace::base
