#include <functional>

#include "tailrace/sched/parallel.hpp"
#include "workload.hpp"

namespace {

using namespace tailrace::sched;
using bench::uts::Node;

std::int64_t count(Place& place, Node node) {
  const std::size_t n = node.children();
  if (n == 0) return 1;
  const auto below = [node](Place& here, std::size_t i) { return count(here, node.child(i)); };
  return parallel_reduce(place, 0, n, std::int64_t{0}, below, std::plus<>{}, {.grain = 1}) + 1;
}

}  // namespace

int main(int argc, char** argv) {
  const bench::Options options = bench::parse(argc, argv);
  Scheduler scheduler{{.workers = 1}};
  for (const int threads : {1, 2}) {
    const With with = threads == 1 ? With::kNobody : With::kWorkers;
    bench::uts::measure("tailrace", threads, options, [&](Node root) {
      return fork_join(scheduler, [root](Place& place) { return count(place, root); }, with);
    });
  }
}
