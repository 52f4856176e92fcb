// remote_frees.hpp -- blocks on their way back to the thread that owns their slab, a batch at a time.
//
// What      `RemoteFrees`, where an owner receives chains of blocks; `Outgoing`, where a sender gathers one chain for each of
//           a few owners until it is worth a compare-and-swap.
// Why       One exchange on a shared line for 32 blocks or 64 KiB of them, in place of one for each.
// Threads   RemoteFrees: push by any thread, take_all by who holds the owner's cache. Outgoing: who holds the sender's cache.
// ABA       Cannot happen: nobody pops a single block, the owner takes the whole chain.
// Checked   tests/model/remote_frees.cpp (with mutants), tests/stress/pool.cpp.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <new>

#include "tailrace/base/atomic.hpp"

namespace tailrace::pool {

// Of the process, set before the first pool has a block; it never changes afterwards.
inline constinit std::uintptr_t link_secret = 0;

struct FreeBlock;

// A pointer that who reads or writes freed memory can neither use nor forge; decoded, a wrong one is no block's.
class EncodedLink {
 public:
  explicit EncodedLink(FreeBlock* block) noexcept { *this = block; }
  EncodedLink& operator=(FreeBlock* block) noexcept {
    bits_ = reinterpret_cast<std::uintptr_t>(block) ^ key();
    return *this;
  }
  EncodedLink(const EncodedLink&) = delete;
  EncodedLink& operator=(const EncodedLink&) = delete;
  operator FreeBlock*() const noexcept { return reinterpret_cast<FreeBlock*>(bits_ ^ key()); }

 private:
  std::uintptr_t key() const noexcept { return link_secret ^ reinterpret_cast<std::uintptr_t>(this) >> 12; }
  std::uintptr_t bits_;
};

// What stands in a free block.
struct FreeBlock {
  explicit FreeBlock(FreeBlock* following) noexcept : next{following} {}
  EncodedLink next;
};

// Node needs a field `Node* next`.
template <class Node = FreeBlock, class Atomics = base::StdAtomics>
class RemoteFrees {
 public:
  void push(Node* first, Node* last) noexcept {
    Node* seen = head_.load(base::relaxed);  // relaxed: a guess; the exchange re-reads it
    do {
      last->next = seen;
      // [PR1] release: the chain's links, and the senders' use of the blocks, come before the owner's; pairs with [PR2]. A
      // failed attempt publishes nothing: relaxed.
    } while (!head_.compare_exchange_weak(seen, first, base::release, base::relaxed));
  }

  // All that has come, linked by `next`; nullptr when there is nothing.
  Node* take_all() noexcept {
    if (empty()) return nullptr;
    return head_.exchange(nullptr, base::acquire);  // [PR2] acquire: pairs with every [PR1] in the chain
  }

  bool empty() const noexcept { return head_.load(base::relaxed) == nullptr; }  // relaxed: a hint; the exchange decides

 private:
  typename Atomics::template atomic<Node*> head_{nullptr};
};

inline constexpr std::size_t kBatchBlocks = 32;
inline constexpr std::size_t kBatchBytes = std::size_t{64} << 10;

// A free block in which stand the addresses of others, so that these need not be touched on their way: a line that is written
// here and read there costs more than all the rest. Followed by `room` addresses.
struct Parcel {
  static constexpr std::size_t kMostRoom = 31;

  Parcel* next;
  std::uint32_t count;
  std::uint32_t room;

  std::byte** blocks() noexcept { return reinterpret_cast<std::byte**>(this + 1); }
};

// The parcels for one owner. `Owner` is where its `RemoteFrees` is.
template <class Owner>
struct Outgoing {
  Owner* owner = nullptr;
  Parcel* first = nullptr;
  Parcel* last = nullptr;
  std::size_t blocks = 0;
  std::size_t bytes = 0;

  // True: it is worth sending.
  bool add(std::byte* memory, std::size_t block_bytes) noexcept {
    if (first != nullptr && first->count < first->room) {
      first->blocks()[first->count++] = memory;
    } else {
      const std::size_t room = std::min((block_bytes - sizeof(Parcel)) / sizeof(std::byte*), Parcel::kMostRoom);
      first = new (memory) Parcel{first, 0, static_cast<std::uint32_t>(room)};
      if (last == nullptr) last = first;
    }
    ++blocks;
    bytes += block_bytes;
    return blocks >= kBatchBlocks || bytes >= kBatchBytes;
  }
  void send() noexcept {
    if (first != nullptr) owner->remote_frees().push(first, last);
    *this = Outgoing{};
  }
};

}  // namespace tailrace::pool
