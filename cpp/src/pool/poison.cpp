#include "tailrace/pool/poison.hpp"

#include <algorithm>

namespace tailrace::pool {

namespace {

// `Wide` is as many bytes as a register of the machine has; four of them at a time.
template <class Wide>
[[gnu::always_inline]] inline bool all_poison(const std::byte* memory, std::size_t bytes) noexcept {
  const Wide expected = Wide{} + detail::kPoisonWord;
  constexpr std::size_t kStep = 4 * sizeof(Wide);
  Wide wrong{}, a, b, c, d;
  for (std::size_t i = 0; i < bytes; i += kStep) {
    const std::byte* at = memory + std::min(i, bytes - kStep);  // what is looked at twice does not matter
    std::memcpy(&a, at, sizeof a);
    std::memcpy(&b, at + sizeof a, sizeof b);
    std::memcpy(&c, at + 2 * sizeof a, sizeof c);
    std::memcpy(&d, at + 3 * sizeof a, sizeof d);
    wrong |= (a ^ expected) | (b ^ expected) | (c ^ expected) | (d ^ expected);
  }
  std::uint64_t any = 0;
  for (std::size_t i = 0; i < sizeof(Wide) / 8; ++i) any |= wrong[i];
  return any == 0;
}

using Wide16 [[gnu::vector_size(16)]] = std::uint64_t;

#ifdef __x86_64__
using Wide32 [[gnu::vector_size(32)]] = std::uint64_t;

[[gnu::target("avx2")]] bool all_poison_avx2(const std::byte* memory, std::size_t bytes) noexcept {
  return all_poison<Wide32>(memory, bytes);
}

using Wide64 [[gnu::vector_size(64)]] = std::uint64_t;

[[gnu::target("avx512f")]] bool all_poison_avx512(const std::byte* memory, std::size_t bytes) noexcept {
  return all_poison<Wide64>(memory, bytes);
}

const int width = [] {
  __builtin_cpu_init();
  return __builtin_cpu_supports("avx512f") ? 64 : __builtin_cpu_supports("avx2") ? 32 : 16;
}();
#endif

}  // namespace

bool detail::is_poison_long(const std::byte* memory, std::size_t bytes) noexcept {
#ifdef __x86_64__
  if (width == 64) return all_poison_avx512(memory, bytes);
  if (width == 32) return all_poison_avx2(memory, bytes);
#endif
  return all_poison<Wide16>(memory, bytes);
}

const std::byte* find_wrong(const std::byte* memory, std::size_t bytes) noexcept {
  const std::byte* end = memory + bytes;
  const std::byte* wrong = std::find_if(memory, end, [](std::byte b) { return b != std::byte{kPoison}; });
  return wrong != end ? wrong : nullptr;
}

}  // namespace tailrace::pool
