// test_lora_bgmv.cpp -- adapters of every width at every level, in buffers that end where the arrays end.
#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include "../harness.hpp"
#include "levels.hpp"
#include "ops/lora_bgmv/cpu.hpp"
#include "ops/lora_bgmv/segments.hpp"

namespace {

using namespace tailrace::kernels;

float small(std::size_t i) { return static_cast<float>(i * 7 % 13) - 6.0f; }

template <class T, class Convert>
void rows_are_adapted(void (*LoraKernels::*kernel)(const LoraArgs<T>&), Convert stored) {
  tailrace::test::for_each_level([&](Isa isa) {
    for (std::size_t rank : {1u, 15u, 16u, 33u}) {
      for (std::size_t out : {1u, 31u, 48u, 65u}) {
        const std::size_t rows = 23, adapters = 3, hidden = 9;
        std::vector<float> x(rows * hidden);
        std::vector<T> a(adapters * hidden * rank), b(adapters * rank * out);
        std::vector<std::int32_t> named(rows);
        for (std::size_t i = 0; i < x.size(); ++i) x[i] = small(i);
        for (std::size_t i = 0; i < a.size(); ++i) a[i] = stored(small(i + 3));
        for (std::size_t i = 0; i < b.size(); ++i) b[i] = stored(small(i + 5));
        for (std::size_t r = 0; r < rows; ++r) named[r] = r % 11 == 4 ? -1 : r < 14 ? 2 : 0;  // nobody names 1
        std::vector<std::uint32_t> order(rows), offsets(adapters + 2);
        CHECK(!sort_rows(named.data(), rows, adapters, order.data(), offsets.data()).has_value());
        std::vector<float> low(kMostLoraRows * rank), y(rows * out, std::numeric_limits<float>::quiet_NaN());
        (lora_bgmv(isa).*kernel)({x.data(), a.data(), b.data(), y.data(), order.data(), offsets.data(), low.data(),
                                  adapters, hidden, rank, out, 0.5f, false});
        for (std::size_t r = 0; r < rows; ++r) {
          for (std::size_t j = 0; j < out; ++j) {
            float expected = 0;
            const auto at = static_cast<std::size_t>(named[r]);
            for (std::size_t k = 0; named[r] >= 0 && k < rank; ++k) {
              float sum = 0;
              for (std::size_t h = 0; h < hidden; ++h)
                sum += x[r * hidden + h] * small((at * hidden + h) * rank + k + 3);
              expected += 0.5f * sum * small((at * rank + k) * out + j + 5);
            }
            if (!(std::abs(y[r * out + j] - expected) <= 1e-2f)) CHECK_EQ(y[r * out + j], expected);
          }
        }
      }
    }
  });
}

TEST(rows_are_adapted_by_float_weights_to_their_ends) {
  rows_are_adapted<float>(&LoraKernels::f32, [](float v) { return v; });
}

TEST(rows_are_adapted_by_half_weights_to_their_ends) {
  rows_are_adapted<Half>(&LoraKernels::f16, [](float v) { return to_half(v); });
}

TEST(rows_are_sorted_by_adapter_and_keep_their_order) {
  const std::vector<std::int32_t> named{1, -1, 1, 0, -1, 1};
  std::vector<std::uint32_t> order(6), offsets(5);
  CHECK(!sort_rows(named.data(), 6, 3, order.data(), offsets.data()).has_value());
  CHECK((order == std::vector<std::uint32_t>{1, 4, 3, 0, 2, 5}));
  CHECK((offsets == std::vector<std::uint32_t>{0, 2, 3, 6, 6}));
  const std::vector<std::int32_t> wrong{0, 3}, low{0, -2};
  CHECK_EQ(*sort_rows(wrong.data(), 2, 3, order.data(), offsets.data()), std::size_t{1});
  CHECK_EQ(*sort_rows(low.data(), 2, 3, order.data(), offsets.data()), std::size_t{1});
}

}  // namespace
