// fault.hpp -- what is said when somebody has misused a block, before the process ends.
//
// What      `Fault` with what happened, the block, its size, where; `end_with` prints it and aborts; `on_fault` is told before.
// Why       Whoever reads the last line of a log should know which block it was.
// Threads   Any.
// Checked   tests/cpp/pool/test_faults.cpp, tests/cpp/pool/test_hardened.cpp.
#pragma once

#include <cstddef>

namespace tailrace::pool {

struct Fault {
  const char* what;
  const void* block;  // its start, or the pointer that was given
  std::size_t bytes = 0;  // asked for, as far as that is known; else what the block holds
  const void* at = nullptr;  // the first wrong byte
};

// Called by the thread that found the fault, before the process ends; returns the one that was called so far.
using FaultHook = void (*)(const Fault& fault) noexcept;
FaultHook on_fault(FaultHook hook) noexcept;

[[noreturn, gnu::cold]] void end_with(const Fault& fault) noexcept;

}  // namespace tailrace::pool
