// options.hpp -- what a scheduler may be asked for, and what is refused.
//
// What      SchedulerOptions, with the limits of each; `checked` fills in what is automatic, or throws.
// Why       A wrong option must be told with what was given, what is allowed and the right call, before a thread exists.
// Threads   Any.
// Checked   tests/cpp/sched/test_options.cpp.
#pragma once

#include <cstdint>
#include <string>

#include "tailrace/sched/affinity.hpp"
#include "tailrace/sched/gate_keeper.hpp"
#include "tailrace/sched/idle.hpp"
#include "tailrace/sched/spin.hpp"

namespace tailrace::sched {

inline constexpr int kAutomatic = -1;
inline constexpr int kMaxBlocking = 32'768;  // a system has no more threads than that by default

struct SchedulerOptions {
  std::string name = "tailrace";
  int workers = 1;  // 1 .. kMaxWorkers, or kAutomatic: as many as there are CPUs for us (cpus.hpp)
  int max_workers = kAutomatic;  // limit for `resize` and replacements; automatic: 4 * workers, at least 16 more
  Affinity affinity = {};  // where they run
  int max_blocking = 512;  // threads of the blocking lane
  Profile profile = Profile::kBalanced;  // how long a worker looks for work before it parks; eco: not at all
  std::int64_t spin_ns = -1;  // the same in nanoseconds, instead of the profile's
  std::int64_t slice_ns = 1'000'000;  // how long a worker drains behind the gate before it lets others in
  std::uint64_t seed = 0x7a11;
  bool membarrier = true;  // use it where the system has it; false: sequentially consistent stores
  bool is_virtual = false;  // no threads: `drive` runs the workers
  GateKeeper* keeper = nullptr;  // null: the gate guards nothing
};

// The same with numbers for what is automatic. Throws std::invalid_argument.
SchedulerOptions checked(SchedulerOptions options);

}  // namespace tailrace::sched
