// test_options.cpp -- a wrong option is refused with what was given, what is allowed and the right call.
#include "tailrace/sched/options.hpp"

#include <stdexcept>

#include "../harness.hpp"

namespace {

using namespace tailrace;
using sched::SchedulerOptions;

std::string refusal_of(SchedulerOptions options) {
  try {
    sched::checked(std::move(options));
  } catch (const std::invalid_argument& error) {
    return error.what();
  }
  return "accepted";
}

bool says(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

TEST(a_wrong_worker_count_is_refused_with_the_limits_and_the_right_call) {
  CHECK_EQ(refusal_of({.workers = 0}),
           "tailrace: workers must be 1 to 256, got 0; write workers = kAutomatic for as many as there are CPUs");
  CHECK(says(refusal_of({.workers = 257}), "got 257"));
  CHECK(says(refusal_of({.workers = -2}), "got -2"));
  CHECK_EQ(refusal_of({.workers = 4, .max_workers = 3}),
           "tailrace: max_workers must be workers (4) to 256, got 3; write max_workers = kAutomatic, or leave it out");
  CHECK(says(refusal_of({.workers = 4, .max_workers = 0}), "got 0"));
  CHECK(says(refusal_of({.workers = 4, .max_workers = 1'000}), "got 1000"));
}

TEST(an_absurd_option_is_refused_by_its_name) {
  CHECK(says(refusal_of({.name = ""}), "name"));
  CHECK(says(refusal_of({.max_blocking = 0}), "max_blocking"));
  CHECK(says(refusal_of({.max_blocking = 1'000'000}), "max_blocking"));
  CHECK(says(refusal_of({.spin_ns = -2}), "spin_ns"));
  CHECK(says(refusal_of({.spin_ns = 3'600'000'000'000}), "spin_ns"));
  CHECK(says(refusal_of({.slice_ns = 0}), "slice_ns"));
}

TEST(automatic_counts_come_from_the_machine_and_from_each_other) {
  const auto automatic = sched::checked({.workers = sched::kAutomatic});
  CHECK(automatic.workers == std::min(sched::available_cpus(), sched::kMaxWorkers));
  CHECK_EQ(sched::checked({.workers = 1}).max_workers, 17);
  CHECK_EQ(sched::checked({.workers = 32}).max_workers, 128);
  CHECK_EQ(sched::checked({.workers = sched::kMaxWorkers}).max_workers, sched::kMaxWorkers);
  CHECK_EQ(sched::checked({.workers = 2, .max_workers = 2}).max_workers, 2);
  CHECK_EQ(sched::checked({.workers = 1}).spin_ns, sched::spin_window_ns(sched::Profile::kBalanced));
  CHECK_EQ(sched::checked({.workers = sched::available_cpus() + 1}).spin_ns, 0);
  CHECK_EQ(sched::checked({.workers = sched::available_cpus() + 1, .spin_ns = 7}).spin_ns, 7);
}

}  // namespace
