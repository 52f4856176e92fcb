#include "tailrace/base/membarrier.hpp"

#include <sys/syscall.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>

namespace tailrace::base {

namespace {

// linux/membarrier.h: an enumeration of the kernel's interface, since 4.14.
constexpr int kPrivateExpedited = 1 << 3;
constexpr int kRegisterPrivateExpedited = 1 << 4;

#if defined(__SANITIZE_THREAD__)
constexpr bool kKnownToSanitizer = false;
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
constexpr bool kKnownToSanitizer = false;
#else
constexpr bool kKnownToSanitizer = true;
#endif
#else
constexpr bool kKnownToSanitizer = true;
#endif

bool register_process() noexcept {
  const char* wanted = std::getenv("TAILRACE_MEMBARRIER");
  if (!kKnownToSanitizer || (wanted != nullptr && std::strcmp(wanted, "0") == 0)) return false;
  return syscall(SYS_membarrier, kRegisterPrivateExpedited, 0, 0) == 0 && membarrier();
}

}  // namespace

bool membarrier_works() noexcept {
  static const bool works = register_process();
  return works;
}

bool membarrier() noexcept { return syscall(SYS_membarrier, kPrivateExpedited, 0, 0) == 0; }

}  // namespace tailrace::base
