#include "tailrace/pool/thread_cache.hpp"

#include <algorithm>
#include <new>
#include <utility>

#include "tailrace/pool/fault.hpp"

namespace tailrace::pool {

namespace {

constexpr std::size_t kBatch = 4096;  // bytes of small blocks that are moved between a stack and a slab at a time
constexpr std::size_t kStackBytes = 65536;  // of small blocks that a stack may hold
constexpr std::uint32_t kLeastRoom = 4;  // of a stack of small blocks
constexpr std::size_t kKeptEmpty = std::size_t{2}
                                   << 20;  // bytes of slabs with no block in use, beside the current ones

// How many of the next classes are larger by a quarter at most: one while there are four for each doubling, then two.
constexpr std::size_t spare_classes(std::size_t size_class) noexcept {
  const std::size_t slices = run_slices(size_class);
  return slices < 4 ? 0 : slices < 16 ? 1 : 2;
}

constexpr std::uint32_t batch(std::size_t size_class) noexcept {
  return static_cast<std::uint32_t>(std::clamp<std::size_t>(kBatch / class_bytes(size_class), 1, 16));
}

}  // namespace

ThreadCache::ThreadCache(Range& range, Central& central, const base::Clock& clock, std::size_t budget_bytes,
                         bool asymmetric) noexcept
    : lock_{asymmetric},
      live_{range.live()},
      budget_bytes_{budget_bytes},
      range_{range},
      central_{central},
      clock_{clock} {
  for (std::size_t i = 0; i < kSlabClasses; ++i) {
    const std::size_t fit = kStackBytes / class_bytes(i);
    stacks_[i].room = static_cast<std::uint32_t>(std::clamp<std::size_t>(fit, kLeastRoom, stacks_[i].blocks.size()));
  }
  for (std::size_t i = kSlabClasses; i < kHugeClass; ++i) stacks_[i].room = kLargeRoom;
}

std::uint64_t ThreadCache::operations() const noexcept {
  std::uint64_t sum = 0;
  for (const Stack& stack : stacks_)
    sum += stack.from_below.read() + 2 * stack.frees.read() - stack.size.load(base::relaxed);
  return quarantine_ == nullptr ? sum : sum + quarantine_->operations();
}

// The link in a free block does not lead to another.
void ThreadCache::spoilt(const FreeBlock* block, std::size_t bytes) noexcept {
  end_with({"a block of a memory pool was written to after it was freed, over its link", block, bytes, block});
}

// ---- small blocks: from slabs to the stack ----

std::byte* ThreadCache::take(std::size_t size_class, bool at_unit) noexcept {
  if (std::byte* memory = hit(size_class)) return memory;
  if (size_class < kSlabClasses) {
    if (!refill(size_class)) return nullptr;
  } else {
    // Up to a quarter more than was asked for, at hand, is better than what has to be looked for.
    for (std::size_t i = 1; i <= spare_classes(size_class); ++i) {
      if (at_unit && size_class + i < kHugeClass && !begins_at_unit(run_slices(size_class + i))) continue;
      if (std::byte* memory = hit(size_class + i)) return memory;
    }
    std::byte* memory = central_.take(size_class);
    if (memory == nullptr) {
      misses.add();
      const std::size_t slices = run_slices(size_class);
      const std::size_t first = range_.take(slices);
      if (first == kNone) return nullptr;
      memory = range_.describe(first, slices, size_class).memory;
    }
    push(stacks_[size_class], memory);
    held_bytes_ += class_bytes(size_class);  // which the hit takes off again
  }
  return hit(size_class);
}

void ThreadCache::push(Stack& stack, std::byte* memory) noexcept {
  const std::uint32_t size = stack.size.load(base::relaxed);
  stack.blocks[size] = memory;
  stack.size.store(size + 1, base::relaxed);
  stack.from_below.add();
}

bool ThreadCache::refill(std::size_t size_class) noexcept {
  Bin& bin = bins_[size_class];
  Stack& stack = stacks_[size_class];
  while (bin.current == nullptr || (bin.current->free == nullptr && bin.current->carved == bin.current->capacity)) {
    if (!next_slab(size_class)) return false;
  }
  Slab& slab = *bin.current;
  if (slab.free == nullptr) carve(slab);
  for (std::uint32_t n = batch(size_class); n != 0 && slab.free != nullptr; --n) {
    FreeBlock* block = slab.free;
    slab.free = block->next;
    if (__builtin_expect(slab.free != nullptr && !slab.holds(slab.free), 0)) spoilt(block, slab.block_bytes);
    push(stack, reinterpret_cast<std::byte*>(block));
    ++slab.used;
  }
  return true;
}

// The bin's current slab is used up: another becomes current. False: the range has none.
bool ThreadCache::next_slab(std::size_t size_class) noexcept {
  Bin& bin = bins_[size_class];
  bin.current = nullptr;  // a full slab is nowhere until one of its blocks comes back
  if (bin.partial == nullptr) receive();
  if (bin.partial != nullptr) {
    bin.current = bin.partial;
    unlink(bin, *bin.current);
    return true;
  }
  misses.add();
  const std::size_t slices = slab_slices(size_class);
  const std::size_t first = range_.take(slices);
  if (first == kNone) return false;
  Slab& slab = range_.describe(first, slices, size_class);
  slab.block_bytes = static_cast<std::uint32_t>(class_bytes(size_class));
  slab.capacity = static_cast<std::uint32_t>(slices * kSliceBytes / slab.block_bytes);
  slab.owner = this;
  bin.current = &slab;
  return true;
}

void ThreadCache::carve(Slab& slab) noexcept {
  const std::uint32_t end = std::min(slab.capacity, slab.carved + batch(slab.size_class));
  for (std::uint32_t i = end; i-- > slab.carved;) {
    slab.free = new (slab.memory + std::size_t{i} * slab.block_bytes) FreeBlock{slab.free};
  }
  slab.carved = end;
}

// ---- frees that find the stack full ----

void ThreadCache::give(std::size_t size_class, std::byte* memory) noexcept {
  if (keep(size_class, memory)) return;
  Stack& stack = stacks_[size_class];
  if (size_class < kSlabClasses) {
    put_back(size_class, stack.room / 2, 0);
    keep(size_class, memory);
    return;
  }
  // Six of the largest are worth more than the budget says.
  const std::size_t budget = std::max(budget_bytes_, std::min(6 * class_bytes(size_class), 6 * budget_bytes_));
  while (size_class != kHugeClass && stack.size.load(base::relaxed) < stack.room) {
    if (keep_within(size_class, memory, budget)) return;
    if (!make_room(size_class)) break;
  }
  Slab& slab = range_.slab_of(range_.offset(memory));
  live_.clear(memory);
  stack.frees.add();
  stack.from_below.add(static_cast<std::uint64_t>(-1));
  if (size_class == kHugeClass) huge_free_bytes.add(slab.slices * kSliceBytes);
  if (size_class == kHugeClass || !central_.put(size_class, memory)) release(slab, clock_.now_ns());
}

// What was freed last is likelier to be wanted than what has lain: the oldest block of the class that holds most goes.
bool ThreadCache::make_room(std::size_t size_class) noexcept {
  std::size_t most = 0, victim = kHugeClass;
  for (std::size_t i = kSlabClasses; i < kHugeClass; ++i) {
    const std::size_t held = stacks_[i].size.load(base::relaxed) * class_bytes(i);
    if (i != size_class && held > most) {
      most = held;
      victim = i;
    }
  }
  if (most < class_bytes(size_class)) return false;
  put_back(victim, 1, clock_.now_ns());
  return true;
}

// The `n` blocks that have lain longest go where they came from.
void ThreadCache::put_back(std::size_t size_class, std::uint32_t n, std::int64_t freed_ns) noexcept {
  Stack& stack = stacks_[size_class];
  const std::uint32_t size = stack.size.load(base::relaxed);
  for (std::uint32_t i = 0; i < n; ++i) {
    if (size_class < kSlabClasses) {
      give_home(stack.blocks[i]);
    } else {
      release(range_.slab_of(range_.offset(stack.blocks[i])), freed_ns);
    }
  }
  std::copy(stack.blocks.begin() + n, stack.blocks.begin() + size, stack.blocks.begin());
  stack.size.store(size - n, base::relaxed);
  stack.from_below.add(std::uint64_t{0} - n);
  if (size_class >= kSlabClasses) held_bytes_ -= n * class_bytes(size_class);
}

void ThreadCache::give_home(std::byte* memory) noexcept {
  Slab& slab = range_.slab_of(range_.offset(memory));
  if (slab.owner == this) return take_in(slab, memory);
  remote.add();
  ThreadCache* owner = slab.owner;
  Outgoing<ThreadCache>& out = outgoing_[reinterpret_cast<std::uintptr_t>(owner) / 4096 % kOutgoing];
  if (out.owner != owner) {
    out.send();
    out.owner = owner;
  }
  has_outgoing = true;
  if (out.add(memory, slab.block_bytes)) out.send();
}

// A block of a slab of ours has come back.
void ThreadCache::take_in(Slab& slab, std::byte* memory) noexcept {
  const bool was_full = slab.free == nullptr;
  slab.free = new (memory) FreeBlock{slab.free};
  --slab.used;
  Bin& bin = bins_[slab.size_class];
  if (&slab == bin.current || (!was_full && slab.used != 0)) return;
  if (was_full) link(bin, slab);
  if (slab.used != 0) return;
  empty_bytes_ += slab.slices * kSliceBytes;
  if (empty_bytes_ <= kKeptEmpty) return;
  unlink(bin, slab);
  release(slab, clock_.now_ns());
}

void ThreadCache::receive() noexcept {
  for (Parcel* parcel = remote_frees_.take_all(); parcel != nullptr;) {
    Parcel* next = parcel->next;
    const auto home = [this](std::byte* memory) { take_in(range_.slab_of(range_.offset(memory)), memory); };
    for (std::uint32_t i = 0; i < parcel->count; ++i) home(parcel->blocks()[i]);
    home(reinterpret_cast<std::byte*>(parcel));
    parcel = next;
  }
}

void ThreadCache::link(Bin& bin, Slab& slab) noexcept {
  slab.previous = nullptr;
  slab.next = bin.partial;
  if (bin.partial != nullptr) bin.partial->previous = &slab;
  bin.partial = &slab;
}

void ThreadCache::unlink(Bin& bin, Slab& slab) noexcept {
  (slab.previous != nullptr ? slab.previous->next : bin.partial) = slab.next;
  if (slab.next != nullptr) slab.next->previous = slab.previous;
  if (slab.used == 0) empty_bytes_ -= slab.slices * kSliceBytes;
}

void ThreadCache::release(Slab& slab, std::int64_t freed_ns) noexcept {
  range_.give(range_.offset(slab.memory) >> kSliceShift, slab.slices, freed_ns);
}

// ---- large blocks ----

std::byte* ThreadCache::take_huge(std::size_t slices) noexcept {
  misses.add();
  const std::size_t first = range_.take(slices);
  if (first == kNone) return nullptr;
  std::byte* memory = range_.describe(first, slices, kHugeClass).memory;
  live_.set(memory);
  stacks_[kHugeClass].from_below.add();
  huge_alloc_bytes.add(slices * kSliceBytes);
  return memory;
}

// ---- handing back ----

void ThreadCache::send_outgoing(bool all) noexcept {
  if (all) end_quarantine();
  for (std::size_t i = 0; all && i < kSlabClasses; ++i) put_back(i, stacks_[i].size.load(base::relaxed), 0);
  for (auto& out : outgoing_) out.send();
}

void ThreadCache::flush(std::int64_t freed_ns) noexcept {
  end_quarantine();
  for (std::size_t i = 0; i < kHugeClass; ++i) put_back(i, stacks_[i].size.load(base::relaxed), freed_ns);
  for (auto& out : outgoing_) out.send();
  receive();
  for (Bin& bin : bins_) {
    if (bin.current != nullptr && bin.current->used == 0) release(*std::exchange(bin.current, nullptr), freed_ns);
    for (Slab* slab = bin.partial; slab != nullptr;) {
      Slab* next = slab->next;
      if (slab->used == 0) {
        unlink(bin, *slab);
        release(*slab, freed_ns);
      }
      slab = next;
    }
  }
}

void ThreadCache::decay(std::int64_t freed_ns) noexcept {
  const std::uint64_t now = operations();
  if (now == std::exchange(operations_at_decay_, now)) return flush(freed_ns);
  for (std::size_t i = 0; i < kHugeClass; ++i) {
    Stack& stack = stacks_[i];
    const std::uint64_t frees = stack.frees.read();
    if (frees == std::exchange(stack.frees_at_decay, frees)) put_back(i, stack.size.load(base::relaxed), freed_ns);
  }
  for (auto& out : outgoing_) out.send();
  receive();  // of classes that this thread may never ask for again
}

}  // namespace tailrace::pool
