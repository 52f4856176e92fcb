// N13: the makespan of cut schedules on 2, 4 and 8 processors, in virtual time, divided by the best possible one.
#pragma once

#include "common.hpp"
#include "cut.hpp"

namespace bench::list_schedule {

inline constexpr int kProcessors[] = {2, 4, 8};
inline constexpr int kTasksEach = 100;
inline constexpr int kGraphs = 40;  // in a pass, each from a seed of its own

// `makespan(tasks, processors)` runs the tasks and returns how long that took.
template <class Makespan>
void measure(const char* engine, const Options& options, Makespan&& makespan) {
  for (int pass = 0; pass < options.passes; ++pass) {
    for (const int processors : kProcessors) {
      Samples samples{kGraphs};
      for (int i = 0; i < scaled(kGraphs, options); ++i) {
        const Tasks tasks = cut(processors, kTasksEach, static_cast<std::uint64_t>(pass * kGraphs + i));
        const double ratio = static_cast<double>(makespan(tasks, processors)) / static_cast<double>(kLength);
        require(ratio >= 1, "a schedule was shorter than the shortest");
        samples.add(ratio);
      }
      const char* const works[] = {"list_schedule.p2", "list_schedule.p4", "list_schedule.p8"};
      print(works[processors == 2 ? 0 : processors == 4 ? 1 : 2], engine, "x shortest", samples);
    }
  }
}

}  // namespace bench::list_schedule
