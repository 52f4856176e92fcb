// test_sample_tokens.cpp -- draws at every level, from rows that end where the arrays end; the generator's known answers.
#include "ops/sample_tokens/cpu.hpp"

#include <array>
#include <cstdint>
#include <limits>
#include <memory>
#include <vector>

#include "../harness.hpp"
#include "levels.hpp"
#include "ops/sample_tokens/philox.hpp"

namespace {

using namespace tailrace::kernels;

struct Limits {
  double temperature = 1;
  std::int64_t top_k = 0;
  double top_p = 1;
  double min_p = 0;
};

SampleArgs arguments(const std::vector<float>& logits, std::size_t rows, const Limits& limits,
                     const std::uint64_t& seed) {
  return {logits.data(),
          rows,
          logits.size() / rows,
          {&limits.temperature, 0},
          {&limits.top_k, 0},
          {&limits.top_p, 0},
          {&limits.min_p, 0},
          {&seed, 0},
          {&seed, 0}};
}

TEST(philox_has_the_known_answers) {
  using Block = std::array<std::uint32_t, 4>;
  CHECK((philox_block(0, {0, 0, 0, 0}) == Block{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  CHECK((philox_block(0x299f31d0a4093822, {0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}) ==
         Block{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

TEST(rows_of_any_length_are_drawn_from_their_kept_tokens_and_not_beyond) {
  tailrace::test::for_each_level([](Isa isa) {
    for (std::size_t tokens : {1u, 3u, 7u, 15u, 16u, 31u, 33u, 63u, 65u, 255u, 257u, 511u, 513u, 1031u})
      for (const Limits& limits :
           {Limits{}, Limits{0.5, 3, 1, 0}, Limits{1, 0, 0.7, 0}, Limits{2, 9, 0.5, 0.1}, Limits{0}}) {
        const std::size_t rows = 3;
        std::vector<float> logits(rows * tokens);
        for (std::size_t i = 0; i < logits.size(); ++i) logits[i] = static_cast<float>(i * i % 17) * 0.5f;
        const std::uint64_t seed = tokens;
        std::vector<std::int32_t> drawn(rows, -1);
        const std::unique_ptr<bool[]> kept(new bool[rows * tokens]);
        const SampleArgs a = arguments(logits, rows, limits, seed);
        CHECK(sample_tokens(isa).sample(a, drawn.data()).bad == BadLogits::none);
        CHECK(sample_tokens(isa).kept(a, kept.get()).bad == BadLogits::none);
        std::vector<std::int32_t> of_baseline(rows);
        sample_tokens(Isa::baseline).sample(a, of_baseline.data());
        for (std::size_t r = 0; r < rows; ++r) {
          CHECK_EQ(drawn[r], of_baseline[r]);
          CHECK(drawn[r] >= 0 && static_cast<std::size_t>(drawn[r]) < tokens);
          CHECK(kept[r * tokens + static_cast<std::size_t>(drawn[r])]);
        }
      }
  });
}

TEST(the_row_of_invalid_logits_is_told) {
  const float infinity = std::numeric_limits<float>::infinity();
  tailrace::test::for_each_level([&](Isa isa) {
    for (std::size_t tokens : {1u, 31u, 33u, 130u}) {
      const std::uint64_t seed = 1;
      std::vector<std::int32_t> drawn(2);
      std::vector<float> logits(2 * tokens, 1.0f);
      const auto result = [&] { return sample_tokens(isa).sample(arguments(logits, 2, {}, seed), drawn.data()); };
      logits.back() = std::numeric_limits<float>::quiet_NaN();
      CHECK(result().bad == BadLogits::nan && result().row == 1);
      logits.back() = infinity;
      CHECK(result().bad == BadLogits::infinite && result().row == 1);
      for (std::size_t i = tokens; i < 2 * tokens; ++i) logits[i] = -infinity;
      CHECK(result().bad == BadLogits::nothing && result().row == 1);
    }
  });
}

}  // namespace
