// test_mlp_grouped.cpp -- rows by their agents' weights at every level, in buffers that end where the arrays end.
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <random>
#include <vector>

#include "../harness.hpp"
#include "levels.hpp"
#include "ops/mlp_forward_grouped/grouped.hpp"

namespace {

using namespace tailrace::kernels;

std::vector<float> numbers(std::size_t count, std::mt19937& random) {
  std::vector<float> found(count);
  for (float& v : found) v = static_cast<float>(random() % 15) - 7.0f;
  return found;
}

void rows_are_right(const std::vector<std::int32_t>& agents, bool given) {
  std::mt19937 random(11);
  tailrace::test::for_each_level([&](Isa isa) {
    const Isa before = chosen_isa();
    force_isa(isa);
    const std::size_t count = 5, rows = agents.size();
    for (std::size_t in : {1u, 9u, 31u}) {
      for (std::size_t out : {1u, 17u, 33u}) {
        const auto w = numbers(count * in * out, random), b = numbers(count * out, random),
                   x = numbers(rows * in, random);
        std::vector<float> y(rows * out, std::numeric_limits<float>::quiet_NaN());
        const Layer layer{{WeightKind::float32, w.data(), nullptr, in, out, 0}, &mlp_float(), nullptr, b.data()};
        run_grouped({{layer}, x.data(), given ? agents.data() : nullptr, y.data(), rows, Activation::relu, count});
        for (std::size_t r = 0; r < rows; ++r) {
          const auto agent = static_cast<std::size_t>(agents[r]);
          for (std::size_t j = 0; j < out; ++j) {
            float sum = b[agent * out + j];  // whole numbers: exact
            for (std::size_t k = 0; k < in; ++k) sum += x[r * in + k] * w[(agent * in + k) * out + j];
            if (!(y[r * out + j] == sum)) CHECK_EQ(y[r * out + j], sum);
          }
        }
      }
    }
    force_isa(before);
  });
}

TEST(a_row_for_each_agent_uses_its_weights) { rows_are_right({0, 1, 2, 3, 4}, false); }
TEST(rows_in_the_order_of_their_agents_use_their_weights) { rows_are_right({0, 0, 1, 3, 3, 3, 3, 4}, true); }
TEST(rows_in_any_order_use_their_agents_weights) { rows_are_right({4, 0, 1, 0, 3, 3, 4, 1, 2, 0}, true); }

}  // namespace
