#include "workload.hpp"

int main(int argc, char** argv) {
  const bench::Options options = bench::parse(argc, argv);
  std::int64_t count = 0;
  std::int64_t wrong = 0;
  std::vector<bench::chain::Step> steps;
  for (int i = 0; i < bench::chain::kNodes; ++i) steps.push_back({&count, i, &wrong});
  // The plain call: through a pointer, as any engine that learns its bodies at run time must.
  void (*volatile call)(const bench::chain::Step&) = [](const bench::chain::Step& step) { step(); };
  bench::chain::measure("serial", options, count, wrong, [&] {
    for (const auto& step : steps) call(step);
  });
}
