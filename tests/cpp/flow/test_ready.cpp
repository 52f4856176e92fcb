// test_ready.cpp -- the places where ready nodes wait: a participant's hand, the ranked set.
#include <set>
#include <vector>

#include "../harness.hpp"
#include "tailrace/base/random.hpp"
#include "tailrace/flow/hand.hpp"
#include "tailrace/flow/ranked_set.hpp"

namespace {

using namespace tailrace::flow;

TEST(a_hand_gives_its_oldest_nodes_and_keeps_the_newest_on_top) {
  Hand hand;
  for (std::uint32_t i = 0; i < Hand::kCapacity; ++i) hand.push(i);
  CHECK(hand.full());
  std::vector<std::uint32_t> given;
  hand.give_oldest(3, [&](std::uint32_t node) { given.push_back(node); });
  CHECK_EQ(given.size(), std::size_t{Hand::kCapacity - 3});
  CHECK_EQ(given.front(), 0u);
  for (std::uint32_t i = 1; i <= 3; ++i) CHECK_EQ(hand.pop(), Hand::kCapacity - i);
  CHECK(hand.empty());
}

TEST(a_hand_that_is_filled_from_elsewhere_runs_the_first_first) {
  for (std::uint32_t n = 0; n <= 5; ++n) {
    Hand hand;
    const bool any = hand.refill(32, [&](std::uint32_t* out, std::uint32_t most) {
      CHECK_EQ(most, 32u);
      for (std::uint32_t i = 0; i < n; ++i) out[i] = 10 + i;
      return n;
    });
    CHECK_EQ(any, n > 0);
    for (std::uint32_t i = 0; i < n; ++i) CHECK_EQ(hand.pop(), 10 + i);
  }
}

TEST(a_ranked_set_gives_the_lowest_rank_first_whatever_came_when) {
  constexpr std::size_t kRanks = 20'000;  // three hundred words and five of marks
  std::vector<RankedSet<>::Word> words(RankedSet<>::word_count(kRanks));
  RankedSet<> ranked{words.data(), kRanks};
  std::set<std::uint32_t> expected;
  tailrace::base::Random random{tailrace::test::seed()};
  CHECK_EQ(ranked.take(), RankedSet<>::kNone);
  for (int i = 0; i < 20'000; ++i) {
    if (random.below(3) != 0) {
      const std::uint32_t rank = random.below(kRanks);
      if (expected.insert(rank).second) ranked.put(rank);
    } else {
      const std::uint32_t wanted = expected.empty() ? RankedSet<>::kNone : *expected.begin();
      if (!expected.empty()) expected.erase(expected.begin());
      CHECK_EQ(ranked.take(), wanted);
    }
  }
  while (!expected.empty()) {
    CHECK(!ranked.empty());
    CHECK_EQ(ranked.take(), *expected.begin());
    expected.erase(expected.begin());
  }
  CHECK_EQ(ranked.take(), RankedSet<>::kNone);
  CHECK(ranked.empty());
}

}  // namespace
