#include "tailrace/sched/fork_join.hpp"

#include "workload.hpp"

namespace {

using namespace tailrace::sched;

std::int64_t fib(Place& place, int n) {
  if (n < 2) return n;
  std::int64_t a = 0, b = 0;
  fork2(place, [&](Place& here) { a = fib(here, n - 1); }, [&](Place& here) { b = fib(here, n - 2); });
  return a + b;
}

}  // namespace

int main(int argc, char** argv) {
  const bench::Options options = bench::parse(argc, argv);
  Scheduler scheduler{{.workers = 1}};
  for (const int threads : {1, 2}) {
    const With with = threads == 1 ? With::kNobody : With::kWorkers;
    bench::fork_join::measure("tailrace", threads, options, [&](int n) {
      return fork_join(scheduler, [n](Place& place) { return fib(place, n); }, with);
    });
  }
}
