// test_slice_bitmap.cpp -- random claims beside a shadow; what several threads do to it is in tests/model and tests/stress.
#include "tailrace/pool/slice_bitmap.hpp"

#include <array>
#include <vector>

#include "../harness.hpp"
#include "tailrace/base/random.hpp"

namespace {

using namespace tailrace::pool;

constexpr std::size_t kSlices = 300;

struct Bitmap {
  Bitmap() { bits.attach(words.data(), kSlices); }
  std::array<SliceBitmap<>::Word, 5> words{};
  SliceBitmap<> bits;
};

std::size_t first_gap(const std::vector<bool>& taken, std::size_t n, std::size_t align) {
  for (std::size_t at = 0; at + n <= taken.size(); at += align) {
    std::size_t free = 0;
    while (free < n && !taken[at + free]) ++free;
    if (free == n) return at;
  }
  return kNone;
}

TEST(claims_take_the_first_gap_that_a_shadow_knows) {
  tailrace::base::Random random{tailrace::test::seed()};
  Bitmap map;
  std::vector<bool> taken(kSlices);
  struct Run {
    std::size_t first, n;
  };
  std::vector<Run> runs;
  for (int i = 0; i < 20'000; ++i) {
    if (random.next() % 5 < 3 || runs.empty()) {
      const std::size_t n = 1 + random.next() % (random.next() % 4 == 0 ? 150 : 9);
      const std::size_t align = std::size_t{1} << (random.next() % 6);
      const std::size_t expected = first_gap(taken, n, align);
      const std::size_t found = map.bits.claim(n, align);
      CHECK_EQ(found, expected);
      if (found == kNone) continue;
      for (std::size_t k = 0; k < n; ++k) taken[found + k] = true;
      runs.push_back({found, n});
    } else {
      const std::size_t which = random.next() % runs.size();
      const Run run = runs[which];
      runs[which] = runs.back();
      runs.pop_back();
      map.bits.give(run.first, run.n);
      for (std::size_t k = 0; k < run.n; ++k) taken[run.first + k] = false;
    }
    if (i % 100 == 0) {
      for (std::size_t k = 0; k < kSlices; ++k) CHECK_EQ(map.bits.taken(k), static_cast<bool>(taken[k]));
    }
  }
  for (const Run& run : runs) map.bits.give(run.first, run.n);
  CHECK_EQ(map.bits.claim(kSlices, 1), std::size_t{0});
}

TEST(a_claim_that_one_word_refuses_leaves_nothing_behind) {
  Bitmap map;
  CHECK(map.bits.claim_at(200, 3));
  CHECK(!map.bits.claim_at(10, 250));
  for (std::size_t k = 0; k < kSlices; ++k) CHECK_EQ(map.bits.taken(k), k >= 200 && k < 203);
}

}  // namespace
