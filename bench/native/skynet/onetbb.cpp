#include <tbb/blocked_range.h>
#include <tbb/global_control.h>
#include <tbb/parallel_for.h>
#include <tbb/partitioner.h>
#include <tbb/task_group.h>

#include "workload.hpp"

namespace {

using bench::skynet::kFork;

std::int64_t sum_of(const std::int64_t (&parts)[kFork]) {
  std::int64_t sum = 0;
  for (const std::int64_t part : parts) sum += part;
  return sum;
}

std::int64_t by_group(std::int64_t first, std::int64_t leaves) {
  if (leaves == 1) return first;
  std::int64_t parts[kFork];
  tbb::task_group group;
  const std::int64_t each = leaves / kFork;
  for (std::int64_t i = 1; i < kFork; ++i) {
    group.run([&parts, i, first, each] { parts[i] = by_group(first + i * each, each); });
  }
  parts[0] = by_group(first, each);
  group.wait();
  return sum_of(parts);
}

std::int64_t by_for(std::int64_t first, std::int64_t leaves) {
  if (leaves == 1) return first;
  std::int64_t parts[kFork];
  const std::int64_t each = leaves / kFork;
  tbb::parallel_for(
      tbb::blocked_range<std::int64_t>{0, kFork, 1},
      [&](const tbb::blocked_range<std::int64_t>& range) {
        for (std::int64_t i = range.begin(); i < range.end(); ++i) parts[i] = by_for(first + i * each, each);
      },
      tbb::simple_partitioner{});
  return sum_of(parts);
}

}  // namespace

int main(int argc, char** argv) {
  const bench::Options options = bench::parse(argc, argv);
  for (const int threads : {1, 2}) {
    const tbb::global_control limit{tbb::global_control::max_allowed_parallelism, static_cast<std::size_t>(threads)};
    bench::skynet::measure("oneTBB task_group", threads, options, [](std::int64_t n) { return by_group(0, n); });
    bench::skynet::measure("oneTBB parallel_for", threads, options, [](std::int64_t n) { return by_for(0, n); });
  }
}
