// The ledger of a shared segment: random traces beside a model of it, and a death at every single access.
#include <array>
#include <map>
#include <random>
#include <utility>
#include <vector>

#include "../harness.hpp"
#include "tailrace/pool/shared_ledger.hpp"

namespace {

using namespace tailrace::pool;
namespace base = tailrace::base;

// Atomics that die: access number `left` is not made any more, nor any later one until the next life.
struct Death {};

struct Mortal {
  static constexpr std::uint64_t kForEver = ~std::uint64_t{0};
  static inline std::uint64_t left = kForEver;
  static void step() {
    if (left == 0) throw Death{};
    if (left != kForEver) --left;
  }

  template <class T>
  struct atomic {
    T value{};
    T load(std::memory_order) const {
      step();
      return value;
    }
    void store(T next, std::memory_order) {
      step();
      value = next;
    }
    T change(T next) {
      step();
      return std::exchange(value, next);
    }
    T fetch_add(T n, std::memory_order) { return change(value + n); }
    T fetch_or(T n, std::memory_order) { return change(value | n); }
    T fetch_and(T n, std::memory_order) { return change(value & n); }
    bool compare_exchange_strong(T& expected, T next, std::memory_order, std::memory_order) {
      step();
      if (value != expected) {
        expected = value;
        return false;
      }
      value = next;
      return true;
    }
    bool compare_exchange_weak(T& expected, T next, std::memory_order a, std::memory_order b) {
      return compare_exchange_strong(expected, next, a, b);
    }
  };
};

template <class Atomics>
struct Tables {
  using Ledger = BasicSharedLedger<Atomics>;
  explicit Tables(std::uint32_t granules) : owners(granules), holds(granules), sizes(granules) {}
  std::vector<typename Ledger::Word> owners, holds, sizes;
  std::array<typename Ledger::Slot, kSharedSlots> slots{};
  Ledger ledger{{.owners = owners.data(),
                 .holds = holds.data(),
                 .sizes = sizes.data(),
                 .slots = slots.data(),
                 .granules = static_cast<std::uint32_t>(owners.size()),
                 .granule_shift = 4}};

  SharedClaim make(unsigned slot, std::uint32_t granules) {
    const SharedClaim claim = ledger.claim(slot, granules);
    if (claim) CHECK(ledger.publish(slot, claim, std::uint64_t{granules} * 16));
    return claim;
  }
  // Every granule is free or part of a block that somebody holds.
  bool is_whole() const {
    const auto count = static_cast<std::uint32_t>(owners.size());
    for (std::uint32_t g = 0, end = 0; g < count; g = end) {
      const std::uint64_t owner = owners[g].load(base::relaxed);
      for (end = g + 1; owner != 0 && end < count && owners[end].load(base::relaxed) == owner;) ++end;
      const bool held = holds[g].load(base::relaxed) != 0;
      if (held != (owner != 0) || (held && (sizes[g].load(base::relaxed) + 15) / 16 != end - g)) return false;
    }
    return true;
  }
  bool is_empty() const {
    for (std::size_t i = 0; i < owners.size(); ++i) {
      if (owners[i].load(base::relaxed) != 0 || holds[i].load(base::relaxed) != 0) return false;
    }
    return true;
  }
};

TEST(random_traces_of_a_shared_ledger_agree_with_a_model_of_it) {
  constexpr std::uint32_t kGranules = 48;
  std::mt19937_64 random{tailrace::test::seed()};
  const auto below = [&](std::uint64_t n) { return random() % n; };
  Tables<base::StdAtomics> t{kGranules};
  struct Live {
    std::uint32_t granules;
    std::uint64_t serial, holders;
  };
  std::map<std::uint32_t, Live> model;
  std::vector<std::pair<std::uint32_t, std::uint64_t>> gone;
  for (int i = 0; i < 200'000; ++i) {
    const auto slot = static_cast<unsigned>(below(4));
    const auto one = model.empty() ? model.end() : std::next(model.begin(), static_cast<int>(below(model.size())));
    switch (below(4)) {
      case 0: {
        const auto granules = static_cast<std::uint32_t>(1 + below(9));
        std::uint32_t lowest = 0;  // first fit
        for (const auto& [head, live] : model) {
          if (head - lowest >= granules) break;
          lowest = head + live.granules;
        }
        const SharedClaim claim = t.make(slot, granules);
        CHECK_EQ(static_cast<bool>(claim), lowest + granules <= kGranules);
        if (!claim) break;
        CHECK_EQ(claim.head, lowest);
        model[claim.head] = {granules, claim.serial, t.ledger.bit(slot)};
        break;
      }
      case 1:
        if (one == model.end() || (one->second.holders & t.ledger.bit(slot)) != 0) break;
        CHECK(t.ledger.open(slot, one->first, one->second.serial));
        one->second.holders |= t.ledger.bit(slot);
        break;
      case 2: {
        if (one == model.end() || (one->second.holders & t.ledger.bit(slot)) == 0) break;
        one->second.holders &= ~t.ledger.bit(slot);
        const bool last = one->second.holders == 0;
        CHECK_EQ(t.ledger.drop(slot, one->first), last);
        if (!last) break;
        gone.emplace_back(one->first, one->second.serial);
        model.erase(one);
        break;
      }
      default:
        if (gone.empty()) break;
        const auto& [head, serial] = gone[below(gone.size())];
        const auto there = model.find(head);
        if (there != model.end() && (there->second.holders & t.ledger.bit(slot)) != 0) break;
        CHECK(!t.ledger.open(slot, head, serial));
    }
    if (i % 1000 == 0) {
      std::uint64_t used = 0;
      for (const auto& [head, live] : model) {
        CHECK_EQ(t.holds[head].load(base::relaxed), live.holders);
        used += live.granules;
      }
      CHECK_EQ(t.ledger.survey(0).used_granules, used);
      CHECK_EQ(t.ledger.survey(0).blocks, model.size());
    }
  }
  for (unsigned slot = 0; slot < 4; ++slot) t.ledger.reclaim(slot);
  CHECK(t.is_empty());
  CHECK_EQ(t.ledger.survey(0).largest_free_granules, kGranules);
}

// The victim is slot 1, its neighbour slot 2; slot 3 is the victim's courier.
constexpr unsigned kVictim = 1, kNeighbour = 2, kCourier = 3;

void live_a_little(Tables<Mortal>& t, const SharedClaim& neighbours, const SharedClaim& left) {
  auto& ledger = t.ledger;
  ledger.drop(kVictim, left.head);
  const SharedClaim a = ledger.claim(kVictim, 3);
  ledger.publish(kVictim, a, 40);
  const bool opened = ledger.open(kVictim, neighbours.head, neighbours.serial);
  const SharedClaim b = ledger.claim(kVictim, 2);
  ledger.publish(kVictim, b, 32);
  ledger.hold_for(kCourier, a.head);
  ledger.open(kNeighbour, b.head, b.serial);
  ledger.drop(kVictim, a.head);
  ledger.open(kVictim, a.head, a.serial + 64);  // stale
  ledger.open(kVictim, a.head, a.serial);
  ledger.end_hold_of(kCourier, a.head);
  const SharedClaim free = ledger.claim_free(kVictim, 0, 4);
  ledger.drop(kVictim, b.head);
  ledger.unclaim(free);
  ledger.drop(kVictim, a.head);
  if (opened) ledger.drop(kVictim, neighbours.head);
}

TEST(a_participant_that_dies_at_any_access_loses_nothing_to_the_others) {
  int deaths = 0;
  for (std::uint64_t n = 0;; ++n) {
    // Who reclaims may die as well, at each of its accesses; whoever comes next does it.
    bool reclaimed_to_the_end = false;
    for (std::uint64_t m = 0; !reclaimed_to_the_end; ++m) {
      Tables<Mortal> t{12};
      Mortal::left = Mortal::kForEver;
      const SharedClaim neighbours = t.make(kNeighbour, 2);
      const SharedClaim left = t.make(kNeighbour, 2);  // made by the one, freed by the other
      t.ledger.open(kVictim, left.head, left.serial);
      t.ledger.drop(kNeighbour, left.head);
      Mortal::left = n;
      bool died = false;
      try {
        live_a_little(t, neighbours, left);
      } catch (const Death&) {
        died = true;
      }
      Mortal::left = m;
      try {
        t.ledger.reclaim(kVictim);
        t.ledger.reclaim(kCourier);
        reclaimed_to_the_end = true;
      } catch (const Death&) {
      }
      Mortal::left = Mortal::kForEver;
      t.ledger.reclaim(kVictim);
      t.ledger.reclaim(kCourier);
      CHECK(t.is_whole());
      CHECK(t.ledger.is_owned(neighbours.head, neighbours.serial));
      CHECK_EQ(t.holds[neighbours.head].value, t.ledger.bit(kNeighbour));
      CHECK_EQ(t.ledger.bytes(neighbours.head), 32u);
      t.ledger.reclaim(kNeighbour);  // with b, if it got that far
      CHECK(t.is_empty());
      if (!died) {
        CHECK(deaths > 60);
        return;
      }
    }
    ++deaths;
  }
}

TEST(a_claim_that_does_not_fit_and_one_that_fits_exactly) {
  Tables<base::StdAtomics> t{8};
  CHECK(!t.make(0, 9));
  CHECK(!t.make(0, ~0u));
  const SharedClaim all = t.make(0, 8);
  CHECK_EQ(all.head, 0u);
  CHECK(!t.make(1, 1));
  CHECK(t.ledger.drop(0, all.head));
  CHECK_EQ(t.make(1, 8).head, 0u);
}

TEST(words_that_somebody_has_spoilt_lead_nowhere) {
  std::mt19937_64 random{tailrace::test::seed()};
  for (int round = 0; round < 2000; ++round) {
    Tables<base::StdAtomics> t{24};
    for (std::uint32_t i = 0; i < 24; ++i) {
      t.owners[i].store(random() >> random() % 64, base::relaxed);
      t.holds[i].store(random() % 3 == 0 ? random() : 0, base::relaxed);
      t.sizes[i].store(random() >> random() % 64, base::relaxed);
    }
    const SharedClaim claim = t.ledger.claim(1, 1 + static_cast<std::uint32_t>(random() % 4));
    if (claim) CHECK(claim.head + claim.granules <= 24);
    t.ledger.claim_free(1, 0, 8);
    for (std::uint32_t head = 0; head < 24; ++head) {
      if (t.ledger.open(2, head, t.ledger.serial(head))) t.ledger.drop(2, head);
    }
    for (unsigned slot = 0; slot < kSharedSlots; ++slot) t.ledger.reclaim(slot);
    CHECK(t.ledger.survey(0).used_granules <= 24);
  }
}

}  // namespace
