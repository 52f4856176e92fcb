// The producer alone: what sleeping and waking each millisecond costs.
#include "workload.hpp"

int main(int argc, char** argv) {
  const bench::Options options = bench::parse(argc, argv);
  std::int64_t ran = 0;
  bench::trickle::measure("serial", options, [&] { ++ran; }, [&] { return ran; });
}
