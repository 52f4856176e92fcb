// cache_line.hpp -- how far apart two threads' fields must lie.
//
// What      One constant.
// Why       std::hardware_destructive_interference_size changes with compiler flags, and so would our layouts.
// Threads   None.
#pragma once

#include <cstddef>

namespace tailrace::base {

inline constexpr std::size_t kCacheLine = 64;

}  // namespace tailrace::base
