#include <tbb/blocked_range.h>
#include <tbb/global_control.h>
#include <tbb/parallel_reduce.h>
#include <tbb/partitioner.h>
#include <tbb/task_group.h>

#include <functional>
#include <vector>

#include "workload.hpp"

namespace {

using bench::uts::Node;

std::int64_t by_reduce(Node node) {
  const std::size_t n = node.children();
  if (n == 0) return 1;
  return 1 + tbb::parallel_reduce(
                 tbb::blocked_range<std::size_t>{0, n, 1}, std::int64_t{0},
                 [node](const tbb::blocked_range<std::size_t>& range, std::int64_t count) {
                   for (std::size_t i = range.begin(); i < range.end(); ++i) count += by_reduce(node.child(i));
                   return count;
                 },
                 std::plus<>{}, tbb::simple_partitioner{});
}

std::int64_t by_group(Node node) {
  const std::size_t n = node.children();
  if (n == 0) return 1;
  std::vector<std::int64_t> counts(n);
  tbb::task_group group;
  for (std::size_t i = 0; i < n; ++i) {
    group.run([&counts, node, i] { counts[i] = by_group(node.child(i)); });
  }
  group.wait();
  std::int64_t count = 1;
  for (const std::int64_t below : counts) count += below;
  return count;
}

}  // namespace

int main(int argc, char** argv) {
  const bench::Options options = bench::parse(argc, argv);
  for (const int threads : {1, 2}) {
    const tbb::global_control limit{tbb::global_control::max_allowed_parallelism, static_cast<std::size_t>(threads)};
    bench::uts::measure("oneTBB task_group", threads, options, by_group);
    bench::uts::measure("oneTBB parallel_reduce", threads, options, by_reduce);
  }
}
