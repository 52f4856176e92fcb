// test_topk_similarity.cpp -- searches at every level, in buffers that end where the arrays end.
#include "ops/topk_similarity/cpu.hpp"

#include <cstdint>
#include <cstdlib>
#include <limits>
#include <type_traits>
#include <vector>

#include "../harness.hpp"
#include "levels.hpp"

namespace {

using namespace tailrace::kernels;

template <class T>
T stored(int value) {
  if constexpr (std::is_same_v<T, Half>)
    return to_half(static_cast<float>(value));
  else
    return static_cast<T>(value);
}

// Whole numbers, so that every order of summation gives the same score.
template <class T>
struct Sample {
  Sample(std::size_t batch, std::size_t count, std::size_t dim)
      : queries(batch * dim), keys(count * dim), values(count * dim) {
    for (std::size_t i = 0; i < queries.size(); ++i) queries[i] = static_cast<float>(static_cast<int>(i * 7 % 11) - 5);
    for (std::size_t i = 0; i < keys.size(); ++i) {
      values[i] = static_cast<int>(i * i % 13) - 6;
      keys[i] = stored<T>(values[i]);
    }
  }
  std::vector<float> queries;
  std::vector<T> keys;
  std::vector<int> values;
};

// How many keys go before this one, by score and then by index: its place in the result.
template <class T>
std::size_t place(const Sample<T>& sample, std::size_t dim, std::size_t query, std::size_t key) {
  const auto score = [&](std::size_t j) {
    float sum = 0;
    for (std::size_t d = 0; d < dim; ++d)
      sum += sample.queries[query * dim + d] * static_cast<float>(sample.values[j * dim + d]);
    return sum;
  };
  const float own = score(key);
  std::size_t before = 0;
  for (std::size_t j = 0; j * dim < sample.keys.size(); ++j) before += score(j) > own || (score(j) == own && j < key);
  return before;
}

template <class T>
void finds_what_is_best(TopkFunctions<T> TopkKernels::* functions) {
  tailrace::test::for_each_level([&](Isa isa) {
    const TopkFunctions<T>& kernels = topk_similarity(isa).*functions;
    for (std::size_t count : {1u, 15u, 16u, 31u, 33u, 49u})
      for (std::size_t dim : {1u, 7u, 8u, 17u, 33u})
        for (std::size_t batch : {1u, 3u, 9u}) {
          const std::size_t k = count < 5 ? count : 5;
          const Sample<T> sample(batch, count, dim);
          std::vector<T> panels(panels_of(count) * kPanelKeys * dim);
          kernels.pack({sample.keys.data(), nullptr, panels.data(), nullptr, dim, count, false});
          for (const bool packed : {false, true}) {
            std::vector<float> scores(batch * k, std::numeric_limits<float>::quiet_NaN());
            std::vector<std::int64_t> indices(batch * k, -1);
            const T* keys = packed ? panels.data() : sample.keys.data();
            const TopkNan nan = kernels.search({sample.queries.data(), keys, nullptr, scores.data(), indices.data(),
                                                batch, dim, count, k, packed, false});
            CHECK(!nan.found);
            for (std::size_t i = 0; i < batch * k; ++i)
              CHECK_EQ(place(sample, dim, i / k, static_cast<std::size_t>(indices[i])), i % k);
          }
        }
  });
}

TEST(float_keys_are_searched_to_their_end_and_not_beyond) { finds_what_is_best<float>(&TopkKernels::f32); }
TEST(half_keys_are_searched_to_their_end_and_not_beyond) { finds_what_is_best<Half>(&TopkKernels::f16); }
TEST(int8_keys_are_searched_to_their_end_and_not_beyond) { finds_what_is_best<std::int8_t>(&TopkKernels::i8); }

TEST(multipliers_end_with_the_keys_or_with_the_last_panel) {
  tailrace::test::for_each_level([](Isa isa) {
    const std::size_t count = 19, dim = 3;
    const std::vector<float> queries{1, 1, 1};
    const std::vector<std::int8_t> keys(count * dim, 1);
    std::vector<float> scales(count, 1.0f), multipliers(panels_of(count) * kPanelKeys);
    scales[18] = 2;
    std::vector<std::int8_t> panels(multipliers.size() * dim);
    topk_similarity(isa).i8.pack({keys.data(), scales.data(), panels.data(), multipliers.data(), dim, count, true});
    for (const bool packed : {false, true})
      for (const bool cosine : {false, true}) {
        if (packed && !cosine) continue;
        float score = 0;
        std::int64_t index = -1;
        topk_similarity(isa).i8.search({queries.data(), packed ? panels.data() : keys.data(),
                                        packed ? multipliers.data() : scales.data(), &score, &index, 1, dim, count, 1,
                                        packed, cosine});
        CHECK_EQ(index, cosine ? 0 : 18);
        CHECK(cosine ? score > 0.999f && score < 1.001f : score == 6.0f);
      }
  });
}

}  // namespace
