// poison.hpp -- the byte that stands where nothing should be written, and the look whether it still does.
//
// What      `poison` fills, `find_wrong` names the first byte that is not poison.
// Why       One pattern for free memory and for the rest of a block behind what was asked for: so the tail of a block that comes
//           back from quarantine, checked already, need not be written again.
// Threads   Who has the memory.
// Checked   tests/cpp/pool/test_hardened.cpp.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace tailrace::pool {

// As a pointer it is none, as a number it is large; what runs over by mistake rarely is it.
inline constexpr unsigned char kPoison = 0xE5;

namespace detail {

using Lanes [[gnu::vector_size(16), gnu::may_alias, gnu::aligned(1)]] = std::uint64_t;
inline constexpr std::uint64_t kPoisonWord = 0xE5E5E5E5E5E5E5E5u;
inline constexpr std::size_t kInline = 256;

bool is_poison_long(const std::byte* memory, std::size_t bytes) noexcept;

}  // namespace detail

// At least 8 bytes.
inline bool is_poison(const std::byte* memory, std::size_t bytes) noexcept {
  using detail::Lanes, detail::kPoisonWord;
  if (__builtin_expect(bytes > detail::kInline, 0)) return detail::is_poison_long(memory, bytes);
  const std::byte* const end = memory + bytes;
  if (bytes < 16) {
    std::uint64_t first, last;
    std::memcpy(&first, memory, 8);
    std::memcpy(&last, end - 8, 8);
    return ((first ^ kPoisonWord) | (last ^ kPoisonWord)) == 0;
  }
  const auto at = [](const std::byte* where) { return *reinterpret_cast<const Lanes*>(where); };
  constexpr Lanes expected = {kPoisonWord, kPoisonWord};
  // What is looked at twice does not matter.
  Lanes wrong = (at(memory) ^ expected) | (at(end - 16) ^ expected);
  if (bytes > 32) wrong |= (at(memory + 16) ^ expected) | (at(end - 32) ^ expected);
  for (std::size_t i = 32; i + 32 < bytes; i += 32) {
    wrong |= (at(memory + i) ^ expected) | (at(memory + i + 16) ^ expected);
  }
  return (wrong[0] | wrong[1]) == 0;
}

// May write up to 15 bytes more, which are poison already.
inline void poison(std::byte* memory, std::size_t bytes) noexcept {
  using detail::Lanes, detail::kPoisonWord;
  if (__builtin_expect(bytes > detail::kInline, 0)) {
    std::memset(memory, kPoison, bytes);
    return;
  }
  std::uint64_t word = kPoisonWord;
  asm("" : "+r"(word));  // or the compiler makes a `rep stos` of the loop, which takes longer than all the rest
  for (std::size_t i = 0; i < bytes; i += 16) *reinterpret_cast<Lanes*>(memory + i) = Lanes{word, word};
}

// The first that is not poison; nullptr: all are.
const std::byte* find_wrong(const std::byte* memory, std::size_t bytes) noexcept;

}  // namespace tailrace::pool
