// central.hpp -- large blocks that no thread keeps: where one thread's overflow becomes another's hit.
//
// What      Eight slots for each class of runs; `put` fills an empty one within a budget of bytes, `take` empties a full one.
// Why       A block that is freed by another thread than the one that will need it should cost neither a search nor a page
//           fault. Slots have no links, so nothing can be misled by a block that went and came back.
// Threads   All members: any thread.
// ABA       A slot holds a whole block or nothing, and is changed by exchange: what it held before does not matter.
// Checked   tests/cpp/pool/test_memory_pool.cpp, tests/stress/pool.cpp.
#pragma once

#include <array>
#include <cstddef>

#include "tailrace/base/atomic.hpp"
#include "tailrace/base/cache_line.hpp"
#include "tailrace/pool/size_class.hpp"

namespace tailrace::pool {

class Central {
 public:
  static constexpr std::size_t kSlots = 8;

  explicit Central(std::size_t budget_bytes) noexcept : budget_bytes_{budget_bytes} {}

  bool put(std::size_t size_class, std::byte* block) noexcept {
    const std::size_t bytes = class_bytes(size_class);
    // relaxed (all of held_bytes_): a limit, not a protocol; it may be passed by those who put at the same moment.
    if (held_bytes_.load(base::relaxed) + bytes > budget_bytes_) return false;
    for (Slot& slot : shelf(size_class).slots) {
      std::byte* nothing = nullptr;
      // relaxed: a look; the exchange decides. [PC1] release: the block's last use comes before its next; pairs with [PC2].
      if (slot.load(base::relaxed) == nullptr &&
          slot.compare_exchange_strong(nothing, block, base::release, base::relaxed)) {
        held_bytes_.fetch_add(bytes, base::relaxed);
        return true;
      }
    }
    return false;
  }

  std::byte* take(std::size_t size_class) noexcept {
    Shelf& from = shelf(size_class);
    from.asked_for.store(true, base::relaxed);  // relaxed: a hint for decay
    return take_from(from, size_class);
  }

  // For decay: a block of a class that nobody has asked for since the last look; for shortage (`all`): any block.
  std::byte* take_unused(std::size_t size_class, bool all) noexcept {
    Shelf& from = shelf(size_class);
    return all || !from.asked_for.load(base::relaxed) ? take_from(from, size_class) : nullptr;
  }
  void begin_interval(std::size_t size_class) noexcept { shelf(size_class).asked_for.store(false, base::relaxed); }

 private:
  using Slot = base::atomic<std::byte*>;
  struct alignas(base::kCacheLine) Shelf {
    std::array<Slot, kSlots> slots{};
    base::atomic<bool> asked_for{false};
  };

  std::byte* take_from(Shelf& from, std::size_t size_class) noexcept {
    for (Slot& slot : from.slots) {
      if (slot.load(base::relaxed) == nullptr) continue;  // relaxed: a look; the exchange decides
      std::byte* block = slot.exchange(nullptr, base::acquire);  // [PC2] acquire: pairs with [PC1]
      if (block == nullptr) continue;
      held_bytes_.fetch_sub(class_bytes(size_class), base::relaxed);
      return block;
    }
    return nullptr;
  }
  Shelf& shelf(std::size_t size_class) noexcept { return shelves_[size_class - kSlabClasses]; }

  const std::size_t budget_bytes_;
  base::atomic<std::size_t> held_bytes_{0};
  std::array<Shelf, kRunClasses> shelves_{};
};

}  // namespace tailrace::pool
