#include "tailrace/sched/parallel.hpp"

#include "workload.hpp"

namespace {

using namespace tailrace::sched;
using bench::skynet::kFork;

std::int64_t skynet(Place& place, std::int64_t first, std::int64_t leaves) {
  if (leaves == 1) return first;
  std::int64_t parts[kFork];
  fork_n(place, kFork, [&](Place& here, std::size_t i) {
    parts[i] = skynet(here, first + static_cast<std::int64_t>(i) * (leaves / kFork), leaves / kFork);
  });
  std::int64_t sum = 0;
  for (const std::int64_t part : parts) sum += part;
  return sum;
}

}  // namespace

int main(int argc, char** argv) {
  const bench::Options options = bench::parse(argc, argv);
  Scheduler scheduler{{.workers = 1}};
  for (const int threads : {1, 2}) {
    const With with = threads == 1 ? With::kNobody : With::kWorkers;
    bench::skynet::measure("tailrace", threads, options, [&](std::int64_t leaves) {
      return fork_join(scheduler, [leaves](Place& place) { return skynet(place, 0, leaves); }, with);
    });
  }
}
