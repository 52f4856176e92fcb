// shared_ledger.hpp -- who owns which part of a shared segment, kept so that any participant may die at any instruction.
//
// What      Tables of words: for each granule the serial of the block that owns it; for each block's first granule (its
//           head) who holds the block and how long it is; for each slot a counter of serials. `claim` and `publish` make
//           a block, `open` and `drop` begin and end a participant's hold, the last drop frees. `reclaim` undoes what a
//           dead participant held or had begun.
// Why       A lock in shared memory is a stall when its holder is stopped and a riddle when its holder is killed. Here
//           each step is one word that names who made it, so what a dead participant left half done can be told and undone.
// Threads   All members: any thread of any process; a slot's members by its participant only. `drop` and `open` of one
//           block by one slot: one after another (shared_pool.cpp, under its mutex). `reclaim(slot)`: who has that slot's
//           lock to itself. Bad words cannot lead out of the tables, but may lose memory.
// ABA       A serial names one block for ever. A hold that was taken on a newer block of the same head is given back.
// Checked   tests/cpp/pool/test_shared_ledger.cpp (death at every access), tests/model/shared_ledger.cpp.
#pragma once

#include <algorithm>
#include <cstdint>

#include "tailrace/base/atomic.hpp"
#include "tailrace/base/cache_line.hpp"

namespace tailrace::pool {

inline constexpr unsigned kSharedSlots = 63;  // bits of a word, less the one that says that a block is being freed

template <class Atomics = base::StdAtomics>
struct alignas(base::kCacheLine) BasicSlotWords {
  using Word = typename Atomics::template atomic<std::uint64_t>;
  Word state{0};  // what the slot is used as (shared_segment.hpp); changed under its lock
  Word process{0};  // for people: the process id
  Word serials{0};  // made so far
};

struct SharedClaim {
  static constexpr std::uint32_t kNone = ~0u;
  std::uint32_t head = kNone;
  std::uint32_t granules = 0;
  std::uint64_t serial = 0;
  bool contended = false;  // nothing was found, but others were at it: look again

  explicit operator bool() const noexcept { return head != kNone; }
};

struct SharedSurvey {
  std::uint64_t blocks = 0;
  std::uint64_t in_transit = 0;  // shared until opened, and not opened yet
  std::uint64_t used_granules = 0;
  std::uint64_t largest_free_granules = 0;
};

template <class Atomics = base::StdAtomics>
class BasicSharedLedger {
 public:
  using Word = typename Atomics::template atomic<std::uint64_t>;
  using Slot = BasicSlotWords<Atomics>;
  static constexpr std::uint64_t kFreeing = std::uint64_t{1} << 63;

  struct Tables {
    Word* owners = nullptr;  // 0: free
    Word* holds = nullptr;  // 0 but at the head of a block
    Word* sizes = nullptr;  // bytes, at the head
    Slot* slots = nullptr;
    std::uint32_t granules = 0;
    unsigned granule_shift = 0;
  };

  BasicSharedLedger() = default;
  explicit BasicSharedLedger(const Tables& tables) : t_{tables} {}

  static std::uint64_t bit(unsigned slot) noexcept { return std::uint64_t{1} << slot; }

  // The lowest `count` free granules in a row, now owned by a serial of `slot`.
  SharedClaim claim(unsigned slot, std::uint32_t count) {
    SharedClaim claim{.granules = count, .serial = next_serial(slot)};
    for (const bool exact : {false, true}) {
      for (std::uint32_t g = 0; count <= t_.granules && g <= t_.granules - count;) {
        const std::uint32_t free = free_from(g, count);
        if (free < count) {
          g = exact ? g + free + 1 : behind(g + free);
          continue;
        }
        const std::uint32_t taken = take(g, count, claim.serial);
        if (taken == count) {
          claim.head = g;
          return claim;
        }
        claim.contended = true;
        g += taken + 1;
      }
    }
    return claim;
  }

  // The first free granules from `from` on, `most` at the most: to give their pages back.
  SharedClaim claim_free(unsigned slot, std::uint32_t from, std::uint32_t most) {
    SharedClaim claim{.serial = next_serial(slot)};
    for (std::uint32_t g = from; g < t_.granules; ++g) {
      const std::uint32_t free = free_from(g, std::min(most, t_.granules - g));
      const std::uint32_t taken = free == 0 ? 0 : take_some(g, free, claim.serial);
      if (taken == 0) continue;
      claim.head = g;
      claim.granules = taken;
      return claim;
    }
    return claim;
  }

  void unclaim(const SharedClaim& claim) { untake(claim.head, claim.granules); }

  // From now on the block can be opened. False: the segment is damaged, and the claim undone.
  bool publish(unsigned slot, const SharedClaim& claim, std::uint64_t bytes) {
    // relaxed: [SL3] shows it.
    t_.sizes[claim.head].store(bytes, base::relaxed);
    std::uint64_t none = 0;
    // [SL3] release: who opens the block sees its owner and size.
    if (t_.holds[claim.head].compare_exchange_strong(none, bit(slot), base::release, base::relaxed)) return true;
    unclaim(claim);
    return false;
  }

  // A hold of `slot`, which has none on this head. False: the block is gone.
  bool open(unsigned slot, std::uint32_t head, std::uint64_t serial) {
    Word& holds = t_.holds[head];
    std::uint64_t seen = holds.load(base::relaxed);  // relaxed: the exchange decides
    do {
      if (seen == 0 || (seen & kFreeing) != 0 || !is_owned(head, serial)) return false;
      // [SL4] acquire: the owner and the size as they were when the block was published.
    } while (!holds.compare_exchange_weak(seen, seen | bit(slot), base::acquire, base::relaxed));
    if (is_owned(head, serial)) return true;
    drop(slot, head);  // a newer block begins here: its owner may even have left it to us
    return false;
  }

  // relaxed: asked by who holds the block; only a last drop changes it, and there is none before ours.
  bool is_owned(std::uint32_t head, std::uint64_t serial) const {
    return t_.owners[head].load(base::relaxed) == serial;
  }
  std::uint64_t serial(std::uint32_t head) const { return t_.owners[head].load(base::relaxed); }
  std::uint64_t bytes(std::uint32_t head) const { return t_.sizes[head].load(base::relaxed); }

  // The holder of a block holds it for another slot too; or ends that hold, which cannot be the last.
  // relaxed: the bit carries nothing; what was written travels with the handle, or with the drop [SL5].
  void hold_for(unsigned other, std::uint32_t head) { t_.holds[head].fetch_or(bit(other), base::relaxed); }
  void end_hold_of(unsigned other, std::uint32_t head) { t_.holds[head].fetch_and(~bit(other), base::relaxed); }

  // Ends the hold of `slot`; true: it was the last, and the block is free.
  bool drop(unsigned slot, std::uint32_t head) {
    Word& holds = t_.holds[head];
    std::uint64_t seen = holds.load(base::relaxed), next = 0;  // relaxed: the exchange decides
    do {
      if ((seen & bit(slot)) == 0) return false;
      next = seen == bit(slot) ? seen | kFreeing : seen & ~bit(slot);
      // [SL5] acq_rel: the last one frees after all that the others have done in the block.
    } while (!holds.compare_exchange_weak(seen, next, base::acq_rel, base::relaxed));
    if ((next & kFreeing) == 0) return false;
    free_block(slot, head);
    return true;
  }

  struct Reclaimed {
    std::uint64_t holds = 0;  // of blocks
    std::uint64_t blocks = 0;  // freed by it, those begun included
  };

  Reclaimed reclaim(unsigned slot) {
    Reclaimed done;
    for (std::uint32_t head = 0; head < t_.granules; ++head) {
      // [SL4] acquire: the block's owner.
      const std::uint64_t seen = t_.holds[head].load(base::acquire);
      if ((seen & bit(slot)) == 0) continue;
      ++done.holds;
      if (seen == (kFreeing | bit(slot))) {
        free_block(slot, head);
        ++done.blocks;
      } else if (drop(slot, head)) {
        ++done.blocks;
      }
    }
    for (std::uint32_t g = 0; g < t_.granules;) {
      // The holds first: those of a block are cleared after its head has lost its serial. [SL7] acquire: after that.
      const bool held = t_.holds[g].load(base::acquire) != 0;
      // [SL7] acquire: what is free, or owned anew, has lost the granules behind it before.
      const std::uint64_t serial = t_.owners[g].load(base::acquire);
      if (serial == 0 || slot_of(serial) != slot) {
        ++g;
        continue;
      }
      const std::uint32_t end = run_end(g, serial);
      if (!held) {  // never published, or its head was on its way to be free
        untake(g, end - g);
        ++done.blocks;
      }
      g = end;
    }
    return done;
  }

  // Whether a block is held by one of the slots in `bits`.
  bool any_held(std::uint64_t bits) const {
    for (std::uint32_t g = 0; g < t_.granules; ++g) {
      if ((t_.holds[g].load(base::relaxed) & bits) != 0) return true;  // relaxed: as `survey`
    }
    return false;
  }

  SharedSurvey survey(std::uint64_t couriers) const {
    SharedSurvey found;
    std::uint64_t free = 0;
    for (std::uint32_t g = 0; g < t_.granules; ++g) {
      // relaxed: a recent state, exact when all are quiet.
      const std::uint64_t holds = t_.holds[g].load(base::relaxed);
      free = t_.owners[g].load(base::relaxed) == 0 ? free + 1 : 0;
      found.largest_free_granules = std::max(found.largest_free_granules, free);
      found.used_granules += free == 0;
      found.blocks += holds != 0;
      found.in_transit += (holds & couriers) != 0;
    }
    return found;
  }

 private:
  static unsigned slot_of(std::uint64_t serial) noexcept { return static_cast<unsigned>(serial & 63); }

  // relaxed: a number that nobody else has.
  std::uint64_t next_serial(unsigned slot) {
    return (t_.slots[slot].serials.fetch_add(1, base::relaxed) + 1) << 6 | slot;
  }

  std::uint32_t free_from(std::uint32_t g, std::uint32_t most) const {
    std::uint32_t n = 0;
    while (n < most && t_.owners[g + n].load(base::relaxed) == 0) ++n;  // relaxed: `take` decides
    return n;
  }

  // Where to look on after a granule that is taken: behind its block, if a block begins there.
  std::uint32_t behind(std::uint32_t g) const {
    // relaxed: a guess; the second pass of `claim` makes none.
    if (t_.holds[g].load(base::relaxed) == 0) return g + 1;
    const std::uint64_t length = (bytes(g) + (std::uint64_t{1} << t_.granule_shift) - 1) >> t_.granule_shift;
    return g + static_cast<std::uint32_t>(std::clamp<std::uint64_t>(length, 1, t_.granules - g));
  }

  // From the first to the last, so that the first granule of a serial is always its head. Returns how many it took.
  std::uint32_t take_some(std::uint32_t g, std::uint32_t count, std::uint64_t serial) {
    for (std::uint32_t i = 0; i < count; ++i) {
      std::uint64_t none = 0;
      // [SL1] acquire: after all that was done in the granule until it was freed.
      if (!t_.owners[g + i].compare_exchange_strong(none, serial, base::acquire, base::relaxed)) return i;
    }
    return count;
  }
  std::uint32_t take(std::uint32_t g, std::uint32_t count, std::uint64_t serial) {
    const std::uint32_t taken = take_some(g, count, serial);
    if (taken < count) untake(g, taken);
    return taken;
  }

  // From the last to the first.
  void untake(std::uint32_t g, std::uint32_t count) {
    // [SL2] release: to who claims it next.
    while (count-- > 0) t_.owners[g + count].store(0, base::release);
  }

  std::uint32_t run_end(std::uint32_t g, std::uint64_t serial) const {
    std::uint32_t end = g + 1;
    // relaxed: who frees it owns it; who reclaims looks once more, with [SL7], where it ended.
    while (end < t_.granules && t_.owners[end].load(base::relaxed) == serial) ++end;
    return end;
  }

  // Its holds say "being freed, by slot". The head's new serial is the slot's own, so that a death after the holds are
  // cleared leaves what looks like a claim that it never published.
  void free_block(unsigned slot, std::uint32_t head) {
    const std::uint64_t old = serial(head);
    untake(head + 1, run_end(head, old) - head - 1);
    // [SL2] release: `reclaim` does not see the head without its serial and a granule behind it with it.
    t_.owners[head].store(next_serial(slot), base::release);
    // [SL6] release: nor the holds gone and the head with its serial.
    t_.holds[head].store(0, base::release);
    untake(head, 1);
  }

  Tables t_;
};

using SharedLedger = BasicSharedLedger<>;
using SlotWords = BasicSlotWords<>;

}  // namespace tailrace::pool
