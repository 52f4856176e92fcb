#include "tailrace/pool/hardened.hpp"

#include <sys/mman.h>
#include <sys/random.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "tailrace/base/clock.hpp"
#include "tailrace/pool/core.hpp"

namespace tailrace::pool {

namespace {

constexpr auto kRooms = [] {
  std::array<std::uint32_t, kSlabClasses> rooms{};
  for (std::size_t c = 0; c < kSlabClasses; ++c) rooms[c] = static_cast<std::uint32_t>(class_bytes(c));
  return rooms;
}();

constexpr std::size_t kRunQuarantine = std::size_t{64} << 20;

}  // namespace

std::uint64_t random_secret() noexcept {
  std::uint64_t bits = 0;
  if (getrandom(&bits, sizeof bits, GRND_NONBLOCK) == static_cast<ssize_t>(sizeof bits)) return bits;
  // Early in the boot there are none yet; where the stack lies is random too.
  return (static_cast<std::uint64_t>(base::monotonic_ns()) + reinterpret_cast<std::uintptr_t>(&bits)) *
         0x9E3779B97F4A7C15u;
}

bool hardened_by_environment() noexcept {
  const char* text = std::getenv("TAILRACE_POOL_HARDENED");
  return text != nullptr && *text != '\0' && std::strcmp(text, "0") != 0;
}

Hardened::Hardened(const PoolOptions& options)
    : runs{std::min(kRunQuarantine, options.limit_bytes / 8)},
      secret_{random_secret()},
      guard_one_in_{options.guard_one_in} {}

void Hardened::overrun(const std::byte* block, std::size_t room, std::size_t bytes) noexcept {
  if (bytes == room) {
    end_with({"a block of a memory pool was written to behind its end, over its size", block, room, nullptr});
  }
  const std::byte* at = find_wrong(block + bytes, room - bytes);
  end_with({"a block of a memory pool was written to behind its end", block, bytes, at});
}

void Hardened::written(const std::byte* block, std::size_t room) noexcept {
  end_with({"a block of a memory pool was written to after it was freed", block, room, find_wrong(block, room)});
}

bool Hardened::wants_guard() noexcept {
  return guard_one_in_ != 0 && runs_made_.fetch_add(1, base::relaxed) % guard_one_in_ == 0;
}

bool Hardened::guard(std::byte* slice) noexcept { return mprotect(slice, kSliceBytes, PROT_NONE) == 0; }
void Hardened::unguard(std::byte* slice) noexcept { mprotect(slice, kSliceBytes, PROT_READ | PROT_WRITE); }

// ---- the way of a block through a hardened pool ----

std::size_t Core::room_of(const void* block) const noexcept {
  const std::size_t offset = range_.offset(block), size_class = range_.class_at(offset);
  if (size_class < kSlabClasses) return kRooms[size_class];
  const Slab& slab = range_.slab_of(offset);
  return (slab.slices - slab.guard_slices) * kSliceBytes;
}

void* Core::allocate_hardened(std::size_t bytes, std::size_t alignment) noexcept {
  bytes += bytes == 0 ? 1 : 0;
  const std::size_t size_class =
      bytes <= kMaxSlabBlock ? class_of(bytes + Hardened::kTailBytes, alignment) : kHugeClass;
  if (__builtin_expect(size_class >= kSlabClasses, 0)) return allocate_run(bytes, alignment);
  if (const Front& mine = front; __builtin_expect(mine.pool == id_ && !closed(), 1)) {
    ThreadCache& cache = *mine.cache;
    if (__builtin_expect(cache.lock().try_enter(), 1)) {
      std::byte* block = cache.quarantine()->reuse(size_class);
      cache.lock().leave();
      if (__builtin_expect(block != nullptr, 1)) {
        const std::size_t room = kRooms[size_class];
        Hardened::look(block, room);
        hardened_->seal(block, room, bytes);
        range_.live().set_checked(block);
        return block;
      }
    }
  }
  return allocate_fresh(size_class, bytes);
}

// A block that does not come from quarantine.
void* Core::allocate_fresh(std::size_t size_class, std::size_t bytes) noexcept {
  const std::size_t room = kRooms[size_class];
  auto* block = static_cast<std::byte*>(closed() ? nullptr : allocate_anew(size_class, room));
  if (block == nullptr) return nullptr;
  std::memset(block + bytes, kPoison, room - bytes);
  hardened_->seal(block, room, bytes);
  range_.live().set_checked(block);
  return block;
}

// Runs are cut to measure, so that little of them is tail.
void* Core::allocate_run(std::size_t bytes, std::size_t alignment) noexcept {
  if (closed()) return nullptr;
  if (bytes > options_.limit_bytes) return allocate_anew(kHugeClass, bytes);  // which refuses
  const std::size_t grain = alignment > kSliceBytes ? kUnitBytes : kSliceBytes;
  const std::size_t room = (bytes + Hardened::kTailBytes + grain - 1) / grain * grain;
  bool guarded = grain == kSliceBytes && hardened_->wants_guard();
  auto* block = static_cast<std::byte*>(guarded ? take(kHugeClass, room + kSliceBytes, true) : nullptr);
  guarded = block != nullptr;
  if (!guarded) block = static_cast<std::byte*>(allocate_anew(kHugeClass, room));
  if (block == nullptr) return nullptr;
  Slab& slab = range_.slab_of(range_.offset(block));
  slab.guard_slices = guarded && Hardened::guard(block + room) ? 1 : 0;
  const std::size_t held = room_of(block);
  std::memset(block + bytes, kPoison, held - bytes);
  hardened_->seal(block, held, bytes);
  range_.live().set_checked(block);
  return block;
}

void Core::free_hardened(std::byte* block) noexcept {
  const std::size_t size_class = range_.class_at(range_.offset(block));
  if (__builtin_expect(size_class >= kSlabClasses, 0)) return free_run(block);
  const std::size_t room = kRooms[size_class];
  hardened_->wipe(block, room, hardened_->opened(block, room));
  range_.live().clear(block);
  if (const Front& mine = front; __builtin_expect(mine.pool == id_, 1)) {
    ThreadCache& cache = *mine.cache;
    if (__builtin_expect(cache.lock().try_enter(), 1)) {
      const bool kept = cache.quarantine()->put(size_class, block);
      cache.lock().leave();
      if (__builtin_expect(kept, 1)) return;
    }
  }
  quarantine_slowly(size_class, block);
}

// The oldest block makes room.
void Core::quarantine_slowly(std::size_t size_class, std::byte* block) noexcept {
  ThreadCache* cache = mine();
  if (cache != nullptr) {
    Quarantine& quarantine = *cache->quarantine();
    cache->lock().enter();
    std::byte* oldest = quarantine.has_room(size_class) ? nullptr : quarantine.leave(size_class);
    quarantine.put(size_class, block);
    cache->lock().leave();
    if (oldest != nullptr) {
      Hardened::look(oldest, kRooms[size_class]);
      give_slowly(oldest);
    }
  } else {
    give_slowly(block);
  }
  if (watched_.load(base::relaxed) || (cache != nullptr && cache->lock().may_open_quick_way())) stir(cache, true);
}

void Core::free_run(std::byte* block) noexcept {
  const std::size_t room = room_of(block);
  hardened_->wipe(block, room, hardened_->opened(block, room));
  range_.live().clear(block);
  const std::size_t held_bytes = range_.slab_of(range_.offset(block)).slices * kSliceBytes;
  if (!hardened_->runs.put({block, room, held_bytes})) give_run(block, room);
  release_runs(false);
  if (watched_.load(base::relaxed)) stir(nullptr, true);
}

void Core::release_runs(bool all) noexcept {
  if (hardened_ == nullptr) return;
  for (RunQuarantine::Held held; (held = hardened_->runs.leave(all)).block != nullptr;) {
    Hardened::look(held.block, held.room);
    give_run(held.block, held.room);
  }
}

void Core::give_run(std::byte* block, std::size_t room) noexcept {
  Slab& slab = range_.slab_of(range_.offset(block));
  if (slab.guard_slices != 0) Hardened::unguard(block + room);
  slab.guard_slices = 0;
  give_slowly(block);
}

void ThreadCache::end_quarantine() noexcept {
  if (quarantine_ == nullptr) return;
  for (std::size_t c = 0; c < kSlabClasses; ++c) {
    while (std::byte* block = quarantine_->leave(c)) {
      Hardened::look(block, kRooms[c]);
      give(c, block);
    }
  }
}

std::size_t ThreadCache::look_at_quarantine() noexcept {
  std::size_t seen = 0;
  for (std::size_t c = 0; quarantine_ != nullptr && c < kSlabClasses; ++c) {
    quarantine_->see(c, [&](const std::byte* block) {
      Hardened::look(block, kRooms[c]);
      ++seen;
    });
  }
  return seen;
}

std::size_t ThreadCache::quarantined_bytes() const noexcept {
  std::size_t sum = 0;
  for (std::size_t c = 0; quarantine_ != nullptr && c < kSlabClasses; ++c) sum += quarantine_->waiting(c) * kRooms[c];
  return sum;
}

}  // namespace tailrace::pool
