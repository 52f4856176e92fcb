// shared_ledger.cpp -- the ledger of a shared segment: participants that claim, open, drop and reclaim at the same time.
//
// The processes are threads here. The lock on a slot (the kernel's) is only its outcome: one thread reclaims a dead slot.
// What is in the granules is a plain field each, so that a race on it shows.
#include "tailrace/pool/shared_ledger.hpp"

#include <array>
#include <optional>

#include "prove.hpp"

namespace {

using namespace tailrace::model;
using tailrace::pool::SharedClaim;
using Ledger = tailrace::pool::BasicSharedLedger<ModelAtomics>;

template <std::uint32_t kGranules>
struct Segment {
  std::array<Ledger::Word, kGranules> owners{}, holds{}, sizes{};
  std::array<Ledger::Slot, 5> slots{};
  std::array<Var<int>, kGranules> contents{};
  Ledger ledger{{.owners = owners.data(),
                 .holds = holds.data(),
                 .sizes = sizes.data(),
                 .slots = slots.data(),
                 .granules = kGranules,
                 .granule_shift = 4}};

  void fill(const SharedClaim& claim, int value) {
    for (std::uint32_t i = 0; i < claim.granules; ++i) contents[claim.head + i] = value;
  }
  bool has(const SharedClaim& claim, int value) {
    for (std::uint32_t i = 0; i < claim.granules; ++i) {
      if (contents[claim.head + i] != value) return false;
    }
    return true;
  }
  void expect_empty() {
    for (std::uint32_t i = 0; i < kGranules; ++i) {
      check(owners[i].peek() == 0 && holds[i].peek() == 0, "a granule was lost");
    }
  }
};

// Two participants allocate, use and free the same few granules.
struct Claims : Segment<2> {
  static constexpr int kThreads = 2;
  void thread(int i) {
    const auto slot = static_cast<unsigned>(i);
    const SharedClaim claim = ledger.claim(slot, slot);
    if (!claim) return;
    fill(claim, i);
    check(ledger.publish(slot, claim, slot * 16), "the head was held");
    check(has(claim, i), "somebody else has written into the block");
    check(ledger.drop(slot, claim.head), "a block with one holder was not freed");
  }
  void finally() { expect_empty(); }
};

// One opens a block by its handle while its owner drops it and a third takes the memory.
struct Opens : Segment<1> {
  static constexpr int kThreads = 3;
  SharedClaim first;
  Opens() {
    first = ledger.claim(1, 1);
    fill(first, 1);
    ledger.publish(1, first, 16);
  }
  void thread(int i) {
    if (i == 1) {
      ledger.drop(1, first.head);
    } else if (i == 2) {
      if (!ledger.open(2, first.head, first.serial)) return;
      check(has(first, 1), "the block that was opened is another one");
      check(ledger.bytes(first.head) == 16, "its size is another's");
      ledger.drop(2, first.head);
    } else if (const SharedClaim next = ledger.claim(3, 1)) {
      fill(next, 3);
      check(ledger.publish(3, next, 8), "the head was held");
      check(has(next, 3), "somebody else has written into the block");
      ledger.drop(3, next.head);
    }
  }
  void finally() { expect_empty(); }
};

// The handle comes by a way that orders nothing.
struct Told : Segment<1> {
  static constexpr int kThreads = 2;
  Atomic<std::uint64_t> told{0};
  void thread(int i) {
    if (i == 1) {
      const SharedClaim claim = ledger.claim(1, 1);
      fill(claim, 1);
      ledger.publish(1, claim, 16);
      told.store(claim.serial, std::memory_order_relaxed);
      return;
    }
    const std::uint64_t serial = told.load(std::memory_order_relaxed);
    if (serial == 0 || !ledger.open(2, 0, serial)) return;
    check(ledger.bytes(0) == 16 && contents[0] == 1, "the block was opened before it was whole");
    ledger.drop(2, 0);
  }
  void finally() {
    ledger.reclaim(1);
    expect_empty();
  }
};

// Participant 1 is dead; a block of its making, which 2 holds too, is freed by 2 and its memory taken by 3 while 4 reclaims.
struct Reclaims : Segment<3> {
  static constexpr int kThreads = 3;
  SharedClaim first;
  std::optional<SharedClaim> next;
  Reclaims() {
    first = ledger.claim(1, 3);
    ledger.publish(1, first, 48);
    ledger.open(2, first.head, first.serial);
    ledger.drop(1, first.head);
  }
  void thread(int i) {
    if (i == 1) {
      ledger.drop(2, first.head);
    } else if (i == 2) {
      next = ledger.claim(3, 1);
      if (!*next) return;
      fill(*next, 3);
      check(ledger.publish(3, *next, 16), "the head was held");
    } else {
      ledger.reclaim(1);
    }
  }
  void finally() {
    if (*next) {
      check(ledger.is_owned(next->head, next->serial), "a live claim was reclaimed");
      ledger.drop(3, next->head);
    }
    expect_empty();
  }
};

// Participant 1 died in the middle of a claim, and held a block that 2 holds too: reclaimed while 2 drops it.
struct LastHolds : Segment<3> {
  static constexpr int kThreads = 3;
  SharedClaim shared;
  LastHolds() {
    shared = ledger.claim(1, 1);
    fill(shared, 1);
    ledger.publish(1, shared, 16);
    ledger.open(2, shared.head, shared.serial);
    ledger.claim(1, 2);
  }
  void thread(int i) {
    if (i == 1) {
      check(has(shared, 1), "the block was given away under its holder");
      ledger.drop(2, shared.head);
    } else if (i == 2) {
      ledger.reclaim(1);
    } else if (const SharedClaim next = ledger.claim(3, 2)) {
      fill(next, 3);
      check(ledger.publish(3, next, 32), "the head was held");
      ledger.drop(3, next.head);
    }
  }
  void finally() { expect_empty(); }
};

TEST(granules_of_a_shared_segment_have_one_owner_at_a_time) {
  prove<Claims>("two that claim, use and free", {.preemptions = 4, .stale_loads = 2});
}

TEST(a_shared_block_that_is_opened_is_the_one_that_was_meant) {
  prove<Opens>("an open, the last drop, a new owner", {.preemptions = 3, .stale_loads = 2});
  prove<Told>("a handle that orders nothing", {.preemptions = 4, .stale_loads = 3});
}

TEST(reclaiming_a_dead_participant_takes_nothing_from_the_living) {
  prove<Reclaims>("a block of the dead, freed by another", {.preemptions = 3, .stale_loads = 2});
  prove<LastHolds>("a block and a half-made claim of the dead", {.preemptions = 3, .stale_loads = 2});
}

TEST(the_check_of_the_shared_ledger_catches_its_mutants) {
  const Order relaxed = std::memory_order_relaxed;
  catches<Claims>("a claim acquires nothing", {.mutants = {{"compare_exchange_strong(none, serial", relaxed}}});
  catches<Claims>("a granule is freed without release", {.mutants = {{"owners[g + count].store(0", relaxed}}});
  catches<Opens>("the last drop acquires nothing", {.mutants = {{"compare_exchange_weak(seen, next", relaxed}}});
  catches<Opens>("an open acquires nothing", {.mutants = {{"seen | bit(slot), base::acquire", relaxed}}});
  catches<Told>("a publication releases nothing", {.mutants = {{"compare_exchange_strong(none, bit(slot)", relaxed}}});
  catches<Reclaims>("holds are cleared without release", {.mutants = {{"holds[head].store(0", relaxed}}});
  catches<Reclaims>("the reclaimer's look at the holds acquires nothing",
                    {.mutants = {{"held = t_.holds[g].load", relaxed}}});
  catches<Reclaims>("the reclaimer's look at an owner acquires nothing",
                    {.mutants = {{"serial = t_.owners[g].load", relaxed}}});
  catches<Reclaims>("the head's new serial is not released",
                    {.mutants = {{"owners[head].store(next_serial", relaxed}}});
}

}  // namespace
