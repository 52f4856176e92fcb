#include "tailrace/pool/fault.hpp"

#include <cinttypes>
#include <cstdint>
#include <cstdio>
#include <cstdlib>

#include "tailrace/base/atomic.hpp"

namespace tailrace::pool {

namespace {

// relaxed: the hook is a function, which needs nothing made ready for it.
constinit base::atomic<FaultHook> the_hook{nullptr};

std::uintptr_t address(const void* pointer) noexcept { return reinterpret_cast<std::uintptr_t>(pointer); }

}  // namespace

FaultHook on_fault(FaultHook hook) noexcept { return the_hook.exchange(hook, base::relaxed); }

void end_with(const Fault& fault) noexcept {
  std::fprintf(stderr, "tailrace: %s (pointer 0x%" PRIxPTR, fault.what, address(fault.block));
  if (fault.bytes != 0) std::fprintf(stderr, ", block of %zu bytes", fault.bytes);
  if (fault.at != nullptr) std::fprintf(stderr, ", byte %" PRIuPTR " of it", address(fault.at) - address(fault.block));
  std::fprintf(stderr, ")\n");
  if (const FaultHook hook = the_hook.load(base::relaxed)) hook(fault);
  std::abort();
}

}  // namespace tailrace::pool
