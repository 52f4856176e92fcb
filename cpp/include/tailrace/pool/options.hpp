// options.hpp -- how a memory pool is made, and what it says when it has nothing.
//
// What      `PoolOptions` with the limits of what may be asked for; `Shortage` and `PoolExhausted`; `FreeListener`.
// Why       Shared by the handle (memory_pool.hpp) and what it leads to (core.hpp).
// Threads   Values.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <string>

#include "tailrace/base/clock.hpp"

namespace tailrace::pool {

enum class HugePages : std::uint8_t { kAutomatic, kOff };

struct PoolOptions {
  std::size_t limit_bytes = std::size_t{1} << 30;  // of committed memory; rounded up to whole pages of the chosen size
  HugePages huge_pages = HugePages::kAutomatic;  // automatic: asked for from 8 MiB of limit on
  bool hardened = false;  // canaries, poison, quarantine, guard slices (docs/memory.md)
  std::int64_t decay_ns = 1'000'000'000;  // memory unused for so long goes back to the system; < 0: never
  std::size_t cache_bytes = std::size_t{16} << 20;  // of buffers that one thread keeps ready
  std::size_t min_retained_bytes = 0;  // never given back by decay
  std::size_t quarantine_bytes = std::size_t{32} << 10;  // hardened: small blocks of one size that a thread lets wait
  std::uint32_t guard_one_in = 16;  // hardened: how many large blocks there are for one with a guard; 0: none
  const base::Clock* clock = &base::RealClock::instance();  // a virtual one: decay is driven by `purge`
};

inline constexpr std::size_t kMinLimitBytes = std::size_t{1} << 20;
inline constexpr std::size_t kMaxLimitBytes = std::size_t{1} << 42;
inline constexpr std::size_t kMinAlignment = 16;
inline constexpr std::size_t kMaxAlignment = std::size_t{2} << 20;
constexpr bool is_alignment(std::size_t n) noexcept { return n != 0 && (n & (n - 1)) == 0 && n <= kMaxAlignment; }

// What a pool could not give, and why.
struct Shortage {
  std::size_t bytes = 0;  // asked for
  std::size_t limit_bytes = 0;
  std::size_t used_bytes = 0;
  std::size_t cached_bytes = 0;
  std::size_t largest_free_bytes = 0;
  bool closed = false;
};

class PoolExhausted : public std::bad_alloc {
 public:
  explicit PoolExhausted(const Shortage& shortage);
  const char* what() const noexcept override { return text_->c_str(); }
  const Shortage& shortage() const noexcept { return shortage_; }

 private:
  Shortage shortage_;
  std::shared_ptr<const std::string> text_;
};

// Told, on the thread that frees, that something may now fit, and once when the pool is closed. It must not block, allocate from the pool or throw.
class FreeListener {
 public:
  virtual ~FreeListener() = default;
  virtual void on_free() noexcept = 0;
};

}  // namespace tailrace::pool
