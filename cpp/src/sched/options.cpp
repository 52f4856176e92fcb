#include "tailrace/sched/options.hpp"

#include <algorithm>
#include <stdexcept>

#include "tailrace/sched/cpus.hpp"

namespace tailrace::sched {

namespace {

[[noreturn]] void refuse(const std::string& option, std::int64_t given, const std::string& allowed,
                         const std::string& instead) {
  throw std::invalid_argument{"tailrace: " + option + " must be " + allowed + ", got " + std::to_string(given) + "; " +
                              instead};
}

}  // namespace

SchedulerOptions checked(SchedulerOptions options) {
  const std::string limit = std::to_string(kMaxWorkers);
  if (options.name.empty()) {
    throw std::invalid_argument{"tailrace: name must not be empty; leave it out for \"tailrace\""};
  }
  if (options.workers == kAutomatic) options.workers = std::min(available_cpus(), kMaxWorkers);
  if (options.workers < 1 || options.workers > kMaxWorkers) {
    refuse("workers", options.workers, "1 to " + limit, "write workers = kAutomatic for as many as there are CPUs");
  }
  if (options.max_workers == kAutomatic) {
    options.max_workers = std::min(std::max(4 * options.workers, options.workers + 16), kMaxWorkers);
  }
  if (options.max_workers < options.workers || options.max_workers > kMaxWorkers) {
    refuse("max_workers", options.max_workers, "workers (" + std::to_string(options.workers) + ") to " + limit,
           "write max_workers = kAutomatic, or leave it out");
  }
  if (options.max_blocking < 1 || options.max_blocking > kMaxBlocking) {
    refuse("max_blocking", options.max_blocking, "1 to " + std::to_string(kMaxBlocking),
           "512 unless you say otherwise");
  }
  if (options.spin_ns < -1 || options.spin_ns > 1'000'000'000) {
    refuse("spin_ns", options.spin_ns, "0 to 1000000000 (a second), or -1 for the profile's", "set profile instead");
  }
  if (options.spin_ns == -1) {
    // Whoever spins while another thread waits for a core may keep that one from making the work. The files that say how
    // many cores there are for us are not read where nothing depends on it.
    const bool is_crowded = !options.is_virtual && options.workers > 1 && options.workers > available_cpus();
    options.spin_ns = is_crowded ? 0 : spin_window_ns(options.profile);
  }
  if (options.slice_ns < 1) {
    refuse("slice_ns", options.slice_ns, "at least 1", "1000000 (a millisecond) unless you say otherwise");
  }
  return options;
}

}  // namespace tailrace::sched
