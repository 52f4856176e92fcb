#include "tailrace/base/cpus.hpp"

#include <sched.h>
#include <unistd.h>

namespace tailrace::base {

int available_cpus() noexcept {
  cpu_set_t allowed;
  if (sched_getaffinity(0, sizeof(allowed), &allowed) == 0) return CPU_COUNT(&allowed);
  const long online = sysconf(_SC_NPROCESSORS_ONLN);  // more processors than a cpu_set_t has bits for
  return online > 0 ? static_cast<int>(online) : 1;
}

}  // namespace tailrace::base
