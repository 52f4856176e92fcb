// test_features_prep.cpp -- rows of every width at every level, in buffers that end where the arrays end.
#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include "../harness.hpp"
#include "levels.hpp"
#include "ops/features_prep/cpu.hpp"
#include "ops/features_prep/distinct.hpp"
#include "ops/features_prep/prep.hpp"

namespace {

using namespace tailrace::kernels;

constexpr double kMissing = std::numeric_limits<double>::quiet_NaN();

template <class T>
double number(std::size_t i) {
  return i % 11 == 3 ? kMissing : static_cast<double>(static_cast<T>(static_cast<double>(i * 7 % 29) - 14));
}

struct Columns {
  explicit Columns(std::size_t n) : fill(n, 2), low(n, -9), high(n, 12), centre(n), spread(n) {
    for (std::size_t c = 0; c < n; ++c) {
      centre[c] = static_cast<double>(c) / 3;
      spread[c] = 1 + static_cast<double>(c % 4);
    }
  }
  LearntColumns learnt() const { return {fill.data(), low.data(), high.data(), centre.data(), spread.data()}; }

  std::vector<double> fill, low, high, centre, spread;
};

template <class T>
void rows_are_scaled(std::size_t categories) {
  tailrace::test::for_each_level([&](Isa isa) {
    force_isa(isa);
    for (std::size_t columns : {1u, 2u, 3u, 15u, 16u, 17u, 31u, 33u, 63u, 64u, 65u, 130u}) {
      const Columns numbers(columns);
      CategoryEncoder encoder;
      encoder.set_buckets(categories);
      for (std::size_t c = 0; c < categories; ++c) encoder.add_hashed(c, c);
      const RowsPrep prep(columns, numbers.learnt(), std::move(encoder));
      for (std::size_t rows : {0u, 1u, 7u, 8u, 31u, 33u, 65u}) {
        std::vector<T> x(rows * columns);
        for (std::size_t i = 0; i < x.size(); ++i) x[i] = static_cast<T>(number<T>(i));
        std::vector<float> out(rows * prep.width(), std::numeric_limits<float>::quiet_NaN());
        prep.scale(x.data(), rows, out.data());
        for (std::size_t r = 0; r < rows; ++r) {
          for (std::size_t c = 0; c < columns; ++c) {
            const double value = number<T>(r * columns + c);
            const double bounded = std::fmin(std::fmax(std::isnan(value) ? 2 : value, -9.0), 12.0);
            const double expected = (bounded - numbers.centre[c]) / numbers.spread[c];
            const double result = static_cast<double>(out[r * prep.width() + c]);
            if (!(std::abs(result - expected) <= 1e-5)) CHECK_EQ(result, expected);
          }
          // What belongs to the encoder is left to it.
          for (std::size_t c = columns; c < prep.width(); ++c) CHECK(std::isnan(out[r * prep.width() + c]));
        }
      }
    }
  });
  force_isa(best_isa());
}

TEST(float32_rows_are_scaled_to_their_ends) { rows_are_scaled<float>(0); }

TEST(float64_rows_are_scaled_to_their_ends) { rows_are_scaled<double>(0); }

TEST(rows_with_categories_keep_their_place_in_a_wider_output) { rows_are_scaled<float>(3); }

template <class T>
void rows_are_checked(void (*FeaturesPrepKernels::*kernel)(const CheckRows<T>&)) {
  tailrace::test::for_each_level([&](Isa isa) {
    for (std::size_t columns : {1u, 7u, 16u, 31u, 33u}) {
      const std::vector<T> low(columns, -1), high(columns, 1);
      std::vector<T> x(3 * columns * columns, T(1));
      // Row 3c is right, 3c + 1 has a value too large in column c, 3c + 2 a missing one.
      for (std::size_t c = 0; c < columns; ++c) {
        x[(3 * c + 1) * columns + c] = T(1.5);
        x[(3 * c + 2) * columns + c] = std::numeric_limits<T>::quiet_NaN();
      }
      for (bool nan_is_valid : {false, true}) {
        const auto valid = std::make_unique<bool[]>(3 * columns);
        (features_prep(isa).*
         kernel)({x.data(), valid.get(), 3 * columns, columns, low.data(), high.data(), nan_is_valid});
        for (std::size_t r = 0; r < 3 * columns; ++r) CHECK_EQ(valid[r], r % 3 == 0 || (r % 3 == 2 && nan_is_valid));
      }
    }
  });
}

TEST(a_wrong_value_is_found_in_each_column) {
  rows_are_checked<float>(&FeaturesPrepKernels::check_f32);
  rows_are_checked<double>(&FeaturesPrepKernels::check_f64);
}

struct AllCollide {
  template <class T>
  std::uint64_t operator()(const T*, std::size_t, std::uint64_t) const {
    return ~std::uint64_t{0};  // the last slot: probes go on at the first
  }
};

TEST(rows_of_equal_hashes_are_compared) {
  const std::vector<float> x{1, 2, 0, 3, 1, 2, -0.0f, 3, 1, 3};
  const std::vector<std::int64_t> codes{7, 7, 7, 7, 7};
  const RowBlock blocks[] = {{x.data(), 2, Cell::f32}, {codes.data(), 1, Cell::i64}};
  std::vector<std::int64_t> kept(5);
  CHECK_EQ(distinct_rows(blocks, 2, 5, kept.data(), AllCollide{}), std::size_t{3});
  CHECK(kept[0] == 0 && kept[1] == 1 && kept[2] == 4);
  CHECK_EQ(distinct_rows(blocks, 2, 5, kept.data()), std::size_t{3});
  CHECK(kept[0] == 0 && kept[1] == 1 && kept[2] == 4);
}

TEST(categories_at_the_ends_of_int64_are_found) {
  constexpr std::int64_t kLeast = std::numeric_limits<std::int64_t>::min(), kMost = -(kLeast + 1);
  const std::vector<std::int64_t> far{kLeast, 0, kMost}, near{kMost - 2, kMost};
  const OneHotColumn sparse(far), dense(near), none(std::span<const std::int64_t>{});
  CHECK(sparse.find(kLeast) == 0 && sparse.find(0) == 1 && sparse.find(kMost) == 2 && sparse.find(1) == -1);
  CHECK(dense.find(kMost) == 1 && dense.find(kMost - 1) == -1 && dense.find(kLeast) == -1);
  CHECK_EQ(none.find(0), -1);
}

TEST(a_refused_category_ends_the_encoding) {
  const std::vector<std::int64_t> values{4, 6}, codes{4, 6, 5, 4};
  CategoryEncoder encoder;
  encoder.add_one_hot(0, values);
  encoder.set_unknown_is_error(true);
  std::vector<float> out(4 * 2, 9);
  const auto refused = encoder.encode(codes.data(), 4, out.data(), 2);
  CHECK(refused.has_value() && refused->row == 2 && refused->column == 0);
  CHECK(out[0] == 1 && out[1] == 0 && out[2] == 0 && out[3] == 1 && out[6] == 9);
}

}  // namespace
