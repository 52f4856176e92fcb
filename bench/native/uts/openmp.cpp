#include <omp.h>

#include <vector>

#include "workload.hpp"

namespace {

using bench::uts::Node;

std::int64_t count(Node node) {
  const std::size_t n = node.children();
  if (n == 0) return 1;
  std::vector<std::int64_t> counts(n);
  for (std::size_t i = 0; i < n; ++i) {
#pragma omp task shared(counts)
    counts[i] = count(node.child(i));
  }
#pragma omp taskwait
  std::int64_t all = 1;
  for (const std::int64_t below : counts) all += below;
  return all;
}

}  // namespace

int main(int argc, char** argv) {
  const bench::Options options = bench::parse(argc, argv);
  for (const int threads : {1, 2}) {
    bench::uts::measure("OpenMP task", threads, options, [threads](Node root) {
      std::int64_t answer = 0;
#pragma omp parallel num_threads(threads)
#pragma omp single
      answer = count(root);
      return answer;
    });
  }
}
