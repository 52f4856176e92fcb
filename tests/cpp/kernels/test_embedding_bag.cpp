// test_embedding_bag.cpp -- bags at every level, in buffers that end where the arrays end.
#include "ops/embedding_bag/cpu.hpp"

#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include "../harness.hpp"
#include "levels.hpp"

namespace {

using namespace tailrace::kernels;

template <class T, class Convert>
void sums_are_right(void (*EmbeddingBagKernels::*kernel)(const EmbeddingBagArgs<T>&), Convert stored) {
  tailrace::test::for_each_level([&](Isa isa) {
    for (std::size_t dim : {1u, 15u, 16u, 31u, 33u, 64u, 65u, 130u}) {
      const std::size_t rows = 7;
      std::vector<T> table(rows * dim);
      for (std::size_t i = 0; i < table.size(); ++i) table[i] = stored(static_cast<float>(i % 23) - 11.0f);
      const std::vector<std::int64_t> indices{0, 6, 3, 3, 6, 1}, offsets{0, 2, 2, 6};
      const std::vector<float> weights{1, 2, 3, -1, 0.5f, 4};
      std::vector<float> out(3 * dim, std::numeric_limits<float>::quiet_NaN());
      (embedding_bag(isa).*
       kernel)({table.data(), nullptr, indices.data(), offsets.data(), weights.data(), out.data(), 3, dim, false});
      for (std::size_t bag = 0; bag < 3; ++bag) {
        for (std::size_t d = 0; d < dim; ++d) {
          float expected = 0;
          for (auto i = static_cast<std::size_t>(offsets[bag]); i < static_cast<std::size_t>(offsets[bag + 1]); ++i)
            expected +=
                weights[i] * (static_cast<float>((static_cast<std::size_t>(indices[i]) * dim + d) % 23) - 11.0f);
          if (std::abs(out[bag * dim + d] - expected) > 1e-4f) CHECK_EQ(out[bag * dim + d], expected);
        }
      }
    }
  });
}

TEST(bags_of_float_rows_end_where_they_end) {
  sums_are_right<float>(&EmbeddingBagKernels::f32, [](float v) { return v; });
}

TEST(bags_of_half_rows_end_where_they_end) {
  sums_are_right<Half>(&EmbeddingBagKernels::f16, [](float v) { return to_half(v); });
}

TEST(bags_of_int8_rows_end_where_they_end) {
  sums_are_right<std::int8_t>(&EmbeddingBagKernels::i8, [](float v) { return static_cast<std::int8_t>(v); });
}

}  // namespace
