#include "workload.hpp"

namespace {

std::int64_t skynet(std::int64_t first, std::int64_t leaves);
std::int64_t (*volatile call)(std::int64_t, std::int64_t) = skynet;  // each call is one call, as for the engines

std::int64_t skynet(std::int64_t first, std::int64_t leaves) {
  if (leaves == 1) return first;
  std::int64_t sum = 0;
  for (std::int64_t i = 0; i < bench::skynet::kFork; ++i) {
    sum += call(first + i * (leaves / bench::skynet::kFork), leaves / bench::skynet::kFork);
  }
  return sum;
}

}  // namespace

int main(int argc, char** argv) {
  const bench::Options options = bench::parse(argc, argv);
  bench::skynet::measure("serial", 1, options, [](std::int64_t leaves) { return skynet(0, leaves); });
}
