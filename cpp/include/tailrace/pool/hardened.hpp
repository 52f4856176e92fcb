// hardened.hpp -- what a hardened pool knows beyond an ordinary one: what was asked for, what waits, which runs have a guard.
//
// What      `seal` ends a block with poison and a word that holds its size; `opened` reads both back and ends the process when
//           they are not as they were. `guard` and `unguard` take the last slice of a run away and give it back.
// Why       An overrun is seen at the free at the latest, a write to freed memory when the block is used again, each with what,
//           where and how large.
// How       The size stands in the block's last word, encoded with the pool's secret and the address: whatever is written over
//           it, it does not fit any more. A hardened pool has no hits in the sense of core.hpp: nobody's `front` shows its
//           key, so all goes the slow way, where one branch leads here.
// Threads   Who has the block.
// Checked   tests/cpp/pool/test_hardened.cpp.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "tailrace/base/atomic.hpp"
#include "tailrace/pool/fault.hpp"
#include "tailrace/pool/options.hpp"
#include "tailrace/pool/poison.hpp"
#include "tailrace/pool/quarantine.hpp"

namespace tailrace::pool {

class Hardened {
 public:
  static constexpr std::size_t kTailBytes = 16;  // at least, behind what was asked for: 8 of poison, 8 of size

  explicit Hardened(const PoolOptions& options);

  // `room`: what the block holds, all poison from `bytes` on.
  void seal(std::byte* block, std::size_t room, std::size_t bytes) const noexcept {
    const std::uint64_t word = encoded(block, bytes);
    std::memcpy(block + room - kWord, &word, kWord);
  }
  // What was asked for, after a look at the tail.
  std::size_t opened(const std::byte* block, std::size_t room) const noexcept {
    const std::size_t bytes = bytes_of(block, room);
    if (__builtin_expect(!is_poison(block + bytes, room - kWord - bytes), 0)) overrun(block, room, bytes);
    return bytes;
  }
  // Without the look at the poison.
  std::size_t bytes_of(const std::byte* block, std::size_t room) const noexcept {
    std::uint64_t word;
    std::memcpy(&word, block + room - kWord, kWord);
    const std::uint64_t bytes = (word ^ secret_) >> 16;
    if (__builtin_expect(encoded(block, bytes) != word || bytes + kTailBytes > room, 0)) overrun(block, room, room);
    return bytes;
  }
  // Of a block whose tail has been looked at: nothing of what was in it stays.
  void wipe(std::byte* block, std::size_t room, std::size_t bytes) const noexcept {
    poison(block, bytes);
    std::memset(block + room - kWord, kPoison, kWord);
  }
  static void look(const std::byte* block, std::size_t room) noexcept {
    if (__builtin_expect(!is_poison(block, room), 0)) written(block, room);
  }

  bool wants_guard() noexcept;
  static bool guard(std::byte* slice) noexcept;  // false: the system has no more mappings for us
  static void unguard(std::byte* slice) noexcept;

  RunQuarantine runs;

 private:
  static constexpr std::size_t kWord = sizeof(std::uint64_t);

  std::uint64_t encoded(const std::byte* block, std::uint64_t bytes) const noexcept {
    const std::uint64_t mixed = (bytes + reinterpret_cast<std::uintptr_t>(block) / 16) * 0x9E3779B97F4A7C15u;
    return (bytes << 16 | mixed >> 48) ^ secret_;
  }
  [[noreturn, gnu::cold]] static void overrun(const std::byte* block, std::size_t room, std::size_t bytes) noexcept;
  [[noreturn, gnu::cold]] static void written(const std::byte* block, std::size_t room) noexcept;

  const std::uint64_t secret_;
  const std::uint32_t guard_one_in_;
  base::atomic<std::uint32_t> runs_made_{0};  // relaxed: which run gets a guard is no protocol
};

// Whether the environment hardens every pool: TAILRACE_POOL_HARDENED is set, and not to 0.
bool hardened_by_environment() noexcept;

// Random bits of the system, for secrets.
std::uint64_t random_secret() noexcept;

}  // namespace tailrace::pool
