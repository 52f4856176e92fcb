#include <omp.h>

#include "workload.hpp"

namespace {

using bench::skynet::kFork;

std::int64_t skynet(std::int64_t first, std::int64_t leaves) {
  if (leaves == 1) return first;
  std::int64_t parts[kFork];
  const std::int64_t each = leaves / kFork;
  for (std::int64_t i = 1; i < kFork; ++i) {
#pragma omp task shared(parts)
    parts[i] = skynet(first + i * each, each);
  }
  parts[0] = skynet(first, each);
#pragma omp taskwait
  std::int64_t sum = 0;
  for (const std::int64_t part : parts) sum += part;
  return sum;
}

}  // namespace

int main(int argc, char** argv) {
  bench::Options options = bench::parse(argc, argv);
  for (const int threads : {1, 2}) {
    if (threads == 2) options.scale = std::min(options.scale, 0.4);  // some hundred times slower: a smaller tree
    bench::skynet::measure("OpenMP task", threads, options, [threads](std::int64_t leaves) {
      std::int64_t answer = 0;
#pragma omp parallel num_threads(threads)
#pragma omp single
      answer = skynet(0, leaves);
      return answer;
    });
  }
}
