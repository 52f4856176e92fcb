// philox.hpp -- random numbers that are a function of a key and a counter.
//
// What      `philox(key, counter)`: Philox4x32-10, of which the first 64 bits are returned.
// Why       A draw depends on (seed, step, row) and on nothing that was drawn before: rows, devices and replays agree.
// Threads   None.
// Source    Salmon, Moraes, Dror and Shaw, "Parallel Random Numbers: As Easy as 1, 2, 3", 2011, section 3.3.
// Checked   tests/cpp/kernels/test_sample_tokens.cpp: the known answers of the authors' library.
#pragma once

#include <array>
#include <cstdint>

namespace tailrace::kernels {

constexpr std::array<std::uint32_t, 4> philox_block(std::uint64_t key, std::array<std::uint32_t, 4> counter) {
  auto low = static_cast<std::uint32_t>(key), high = static_cast<std::uint32_t>(key >> 32);
  for (int round = 0; round < 10; ++round) {
    const std::uint64_t first = std::uint64_t{0xD2511F53} * counter[0];
    const std::uint64_t second = std::uint64_t{0xCD9E8D57} * counter[2];
    counter = {static_cast<std::uint32_t>(second >> 32) ^ counter[1] ^ low, static_cast<std::uint32_t>(second),
               static_cast<std::uint32_t>(first >> 32) ^ counter[3] ^ high, static_cast<std::uint32_t>(first)};
    low += 0x9E3779B9;
    high += 0xBB67AE85;
  }
  return counter;
}

// 64 random bits for a row at a step.
constexpr std::uint64_t philox(std::uint64_t seed, std::uint64_t step, std::uint64_t row) {
  const auto block = philox_block(seed, {static_cast<std::uint32_t>(row), static_cast<std::uint32_t>(row >> 32),
                                         static_cast<std::uint32_t>(step), static_cast<std::uint32_t>(step >> 32)});
  return block[0] | std::uint64_t{block[1]} << 32;
}

}  // namespace tailrace::kernels
