#include "tailrace/base/check.hpp"

#include <cstdio>
#include <cstdlib>

namespace tailrace::base {

void check_failed(const char* condition, const char* why, const char* file, int line) noexcept {
  std::fprintf(stderr, "tailrace: broken invariant at %s:%d: %s (%s)\n", file, line, why, condition);
  std::abort();
}

}  // namespace tailrace::base
