// test_histogram.cpp -- percentiles within one per cent, by comparison with sorted samples.
#include <algorithm>
#include <cmath>
#include <memory>
#include <vector>

#include "../harness.hpp"
#include "tailrace/base/random.hpp"
#include "tailrace/metrics/counter.hpp"
#include "tailrace/metrics/histogram.hpp"

namespace {

using tailrace::metrics::Histogram;

TEST(every_bucket_is_narrower_than_two_per_cent_and_follows_the_one_before) {
  int before = -1;
  for (std::uint64_t value = 0; value < (std::uint64_t{1} << 40); value += 1 + value / 200) {
    const int index = Histogram::index_of(value);
    CHECK(index == before || index == before + 1 || value == 0);
    CHECK(index >= 0 && index < Histogram::kBuckets);
    before = index;
    const double middle = static_cast<double>(Histogram::middle_of(index));
    CHECK(std::abs(middle - static_cast<double>(value)) <= 0.01 * static_cast<double>(value));
  }
}

TEST(a_percentile_is_within_one_per_cent_of_the_sorted_samples) {
  tailrace::base::Random random{tailrace::test::seed()};
  const auto histogram = std::make_unique<Histogram>();
  std::vector<std::uint64_t> samples;
  for (int i = 0; i < 20'000; ++i) {
    const std::uint64_t value = random.next() >> (24 + random.below(40));  // from 1 ns to 18 minutes
    samples.push_back(std::min(value, (std::uint64_t{1} << 40) - 1));
    histogram->record(value);
  }
  std::sort(samples.begin(), samples.end());
  CHECK_EQ(histogram->count(), samples.size());
  for (const double q : {0.01, 0.1, 0.5, 0.9, 0.99, 0.999, 1.0}) {
    const auto rank = static_cast<std::size_t>(std::ceil(q * static_cast<double>(samples.size()))) - 1;
    const auto exact = static_cast<double>(samples[rank]);
    CHECK(std::abs(static_cast<double>(histogram->percentile(q)) - exact) <= 0.01 * exact + 0.5);
  }
}

TEST(an_empty_histogram_has_no_percentile_and_a_huge_value_lands_in_the_last_bucket) {
  const auto histogram = std::make_unique<Histogram>();
  CHECK_EQ(histogram->percentile(0.5), 0u);
  CHECK_EQ(histogram->max(), 0u);
  histogram->record(UINT64_MAX);
  CHECK_EQ(histogram->count(), 1u);
  CHECK_EQ(Histogram::index_of(UINT64_MAX), Histogram::kBuckets - 1);
}

TEST(merged_histograms_count_and_rank_as_one) {
  const auto a = std::make_unique<Histogram>(), b = std::make_unique<Histogram>();
  for (std::uint64_t i = 1; i <= 100; ++i) (i <= 50 ? a : b)->record(i);
  a->merge(*b);
  CHECK_EQ(a->count(), 100u);
  CHECK_EQ(a->max(), 100u);
  CHECK_EQ(a->percentile(0.5), 50u);
}

TEST(a_counter_adds) {
  tailrace::metrics::Counter counter;
  counter.add();
  counter.add(41);
  CHECK_EQ(counter.read(), 42u);
}

}  // namespace
