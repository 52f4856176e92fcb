// random.hpp -- small, seedable, one per worker.
//
// What      xoshiro-class generator: splitmix64, enough for victims and samples.
// Why       A seed must replay a schedule exactly; a shared generator would be a shared cache line.
// Threads   One owner each.
// Source    Steele, Lea, Flood 2014, "Fast Splittable Pseudorandom Number Generators".
#pragma once

#include <cstdint>

namespace tailrace::base {

class Random {
 public:
  explicit Random(std::uint64_t seed) noexcept : state_{seed} {}

  std::uint64_t next() noexcept {
    std::uint64_t z = (state_ += 0x9e3779b97f4a7c15ull);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    return z ^ (z >> 31);
  }

  // Uniform in [0, bound), by multiplication instead of division (bias < 2^-32 for small bounds).
  std::uint32_t below(std::uint32_t bound) noexcept {
    return static_cast<std::uint32_t>(((next() >> 32) * bound) >> 32);
  }

 private:
  std::uint64_t state_;
};

}  // namespace tailrace::base
