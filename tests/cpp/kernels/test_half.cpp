// test_half.cpp -- 16-bit floats: every value there and back, and rounding to the nearest, ties to even.
#include "cpu/half.hpp"

#include <bit>
#include <cmath>
#include <cstdint>

#include "../harness.hpp"

namespace {

using namespace tailrace::kernels;

TEST(every_half_survives_the_way_through_float) {
  for (std::uint32_t bits = 0; bits < 0x10000u; ++bits) {
    const Half half{static_cast<std::uint16_t>(bits)};
    const float value = to_float(half);
    if (std::isnan(value)) {
      CHECK(std::isnan(to_float(to_half(value))));
    } else if (to_half(value).bits != half.bits) {
      CHECK_EQ(to_half(value).bits, half.bits);
    }
  }
}

TEST(every_bfloat16_survives_the_way_through_float) {
  for (std::uint32_t bits = 0; bits < 0x10000u; ++bits) {
    const BFloat16 given{static_cast<std::uint16_t>(bits)};
    const float value = to_float(given);
    if (std::isnan(value)) {
      CHECK(std::isnan(to_float(to_bfloat16(value))));
    } else if (to_bfloat16(value).bits != given.bits) {
      CHECK_EQ(to_bfloat16(value).bits, given.bits);
    }
  }
}

TEST(a_float_between_two_halves_goes_to_the_nearer_and_a_tie_to_the_even_one) {
  for (std::uint16_t bits = 0; bits < 0x7bffu; ++bits) {
    const float low = to_float(Half{bits}), high = to_float(Half{static_cast<std::uint16_t>(bits + 1)});
    const float middle = low + (high - low) / 2;
    const auto even = static_cast<std::uint16_t>((bits & 1) != 0 ? bits + 1 : bits);
    if (to_half(middle).bits != even) CHECK_EQ(to_half(middle).bits, even);
    if (to_half(std::nextafter(middle, low)).bits != bits) CHECK_EQ(to_half(std::nextafter(middle, low)).bits, bits);
    if (to_half(std::nextafter(middle, high)).bits != bits + 1)
      CHECK_EQ(to_half(std::nextafter(middle, high)).bits, static_cast<std::uint16_t>(bits + 1));
  }
  CHECK_EQ(to_half(65519.0f).bits, 0x7bffu);
  CHECK_EQ(to_half(65520.0f).bits, 0x7c00u);
  CHECK_EQ(to_half(-1e30f).bits, 0xfc00u);
}

}  // namespace
