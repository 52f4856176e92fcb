// check.hpp -- a broken invariant ends the process, with its reason.
//
// What      TAILRACE_CHECK(condition, "why it must hold"), on in every build.
// Why       A scheduler that goes on after a broken invariant loses requests silently, which is worse than stopping.
// Threads   Any.
#pragma once

namespace tailrace::base {

[[noreturn]] void check_failed(const char* condition, const char* why, const char* file, int line) noexcept;

}  // namespace tailrace::base

#define TAILRACE_CHECK(condition, why) \
  (__builtin_expect(!(condition), 0) ? ::tailrace::base::check_failed(#condition, why, __FILE__, __LINE__) : (void)0)
