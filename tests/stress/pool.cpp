// pool.cpp -- real threads in one memory pool: no block overlaps another, none is lost, the limit holds, all who wait are told.
#include "tailrace/pool/memory_pool.hpp"

#include <algorithm>
#include <array>
#include <cstring>
#include <limits>
#include <thread>
#include <utility>
#include <vector>

#include "../cpp/harness.hpp"
#include "tailrace/base/random.hpp"

namespace {

using namespace tailrace;
using namespace tailrace::pool;

constexpr std::size_t kMiB = std::size_t{1} << 20;
constexpr std::int64_t kForEver = std::numeric_limits<std::int64_t>::max();

std::uint64_t amount(std::uint64_t base) { return base * test::stress_factor(); }

// A block with a pattern of its own at both ends; short ones are filled.
class Block {
 public:
  Block() = default;
  Block(MemoryPool& pool, void* memory, std::size_t bytes, std::size_t alignment, std::uint64_t mark)
      : memory_{static_cast<unsigned char*>(memory)}, bytes_{bytes}, mark_{static_cast<unsigned char>(mark | 1)} {
    CHECK_EQ(reinterpret_cast<std::uintptr_t>(memory) % alignment, std::uintptr_t{0});
    CHECK(pool.usable_bytes(memory) >= bytes);
    each_end([this](unsigned char* at, std::size_t n) { std::memset(at, mark_, n); });
  }
  explicit operator bool() const { return memory_ != nullptr; }
  void free(MemoryPool& pool) {
    each_end([this](const unsigned char* at, std::size_t n) {
      CHECK_EQ(std::count(at, at + n, mark_), static_cast<std::ptrdiff_t>(n));
    });
    pool.deallocate(std::exchange(memory_, nullptr));
  }

 private:
  template <class Visit>
  void each_end(Visit visit) const {
    if (bytes_ <= 2 * kEnd) return visit(memory_, bytes_);
    visit(memory_, kEnd);
    visit(memory_ + bytes_ - kEnd, kEnd);
  }
  static constexpr std::size_t kEnd = 64;
  unsigned char* memory_ = nullptr;
  std::size_t bytes_ = 0;
  unsigned char mark_ = 0;
};

struct World {
  explicit World(const PoolOptions& options) : pool{options} {}
  MemoryPool pool;
  std::array<base::atomic<Block*>, 64> market{};  // where threads swap what they have allocated
  base::atomic<bool> over{false};
};

// One thread's random life: allocates, frees, swaps with others, waits now and then.
class Player {
 public:
  Player(World& world, std::uint64_t seed) : world_{world}, random_{seed} {}
  ~Player() {
    for (Block& block : held_) block.free(world_.pool);
  }
  void play(std::uint64_t steps) {
    for (std::uint64_t i = 0; i < steps; ++i) {
      const std::uint32_t what = random_.below(64);
      if (what < 30 || held_.empty()) {
        allocate();
      } else if (what < 52) {
        free_one();
      } else if (what < 63) {
        swap();
      } else if (random_.below(8) == 0) {
        random_.below(2) == 0 ? world_.pool.flush_thread() : flush_remote_frees();
      }
      while (held_.size() > 200) free_one();
    }
  }

 private:
  void allocate() {
    const std::size_t scale = std::size_t{1} << random_.below(random_.below(8) == 0 ? 22 : 15);
    const std::size_t bytes = scale + random_.next() % scale;
    const std::size_t alignment = std::size_t{1} << random_.below(random_.below(16) == 0 ? 22 : 7);
    void* memory = random_.below(256) == 0 ? world_.pool.allocate_within(bytes, random_.below(200'000), alignment)
                                           : world_.pool.try_allocate(bytes, alignment);
    if (memory != nullptr) held_.emplace_back(world_.pool, memory, bytes, alignment, random_.next());
  }
  void free_one() {
    Block& block = held_[random_.below(static_cast<std::uint32_t>(held_.size()))];
    block.free(world_.pool);
    std::swap(block, held_.back());
    held_.pop_back();
  }
  void swap() {
    auto* mine = new Block{held_.back()};
    held_.pop_back();
    auto& place = world_.market[random_.below(static_cast<std::uint32_t>(world_.market.size()))];
    if (Block* theirs = place.exchange(mine)) {
      held_.push_back(*theirs);
      delete theirs;
    }
  }

  World& world_;
  base::Random random_;
  std::vector<Block> held_;
};

void live(const PoolOptions& options, std::uint64_t seed, std::uint64_t steps) {
  World world{options};
  MemoryPool& pool = world.pool;
  std::vector<std::thread> threads;
  base::atomic<int> playing{3};
  for (std::uint64_t t = 0; t < 3; ++t) {
    threads.emplace_back([&, t] {
      Player{world, seed * 31 + t}.play(steps);
      playing.fetch_sub(1);
    });
  }
  threads.emplace_back([&] {  // threads that come and go
    for (std::uint64_t i = 0; playing.load() != 0; ++i) {
      std::thread{[&] { Player{world, seed * 97 + i}.play(200); }}.join();
    }
  });
  base::Random random{seed};
  while (playing.load() != 0) {
    switch (random.below(6)) {
      case 0:
        pool.trim(random.next() % options.limit_bytes);
        break;
      case 1:
        pool.purge();
        break;
      case 2:
        pool.reserve(random.next() % options.limit_bytes, random.below(2) == 0);
        break;
      default:
        break;
    }
    const PoolStatistics now = pool.statistics();
    CHECK(now.committed_bytes <= now.limit_bytes);
    CHECK(now.peak_committed_bytes <= now.limit_bytes);
    CHECK(now.largest_free_bytes <= now.limit_bytes);
    std::this_thread::yield();
  }
  for (auto& thread : threads) thread.join();
  for (auto& place : world.market) {
    if (Block* left = place.load()) {
      left->free(pool);
      delete left;
    }
  }
  const PoolStatistics end = pool.statistics();
  CHECK_EQ(end.n_alloc, end.n_free);
  CHECK_EQ(end.used_bytes, std::size_t{0});
  CHECK(end.n_alloc > steps);
  void* whole = pool.try_allocate(pool.options().limit_bytes);
  CHECK(whole != nullptr);
  pool.close();
  pool.deallocate(whole);
  CHECK(pool.try_allocate(1) == nullptr);
  pool.trim();
  CHECK_EQ(pool.statistics().committed_bytes, std::size_t{0});
}

TEST(threads_that_come_and_go_swap_blocks_and_lose_none_while_memory_is_trimmed_and_decays) {
  const std::uint64_t steps = amount(30'000);
  live({.limit_bytes = 64 * kMiB, .decay_ns = 2'000'000}, test::seed(), steps);
  live({.limit_bytes = 24 * kMiB, .huge_pages = HugePages::kOff, .decay_ns = 0, .cache_bytes = kMiB}, test::seed() + 1,
       steps);
  live({.limit_bytes = 3 * kMiB, .decay_ns = -1, .cache_bytes = 0}, test::seed() + 2, steps);
}

// Each holds one block at a time, and any of them fits when the others hold none: who is not told when it is free sleeps on.
TEST(everybody_who_waits_for_memory_is_told) {
  for (const std::size_t limit : {2 * kMiB, 16 * kMiB}) {
    MemoryPool pool{{.limit_bytes = limit, .decay_ns = 3'000'000}};
    std::vector<std::thread> threads;
    for (std::uint64_t t = 0; t < 4; ++t) {
      threads.emplace_back([&, t] {
        base::Random random{test::seed() + t};
        for (std::uint64_t i = 0; i < amount(1'500); ++i) {
          const std::size_t bytes = random.below(3) == 0 ? 1 + random.below(4096) : limit - random.next() % (limit / 2);
          void* block = pool.allocate_within(bytes, kForEver);
          CHECK(block != nullptr);
          if (random.below(4) == 0) std::this_thread::yield();
          pool.deallocate(block);
        }
      });
    }
    for (auto& thread : threads) thread.join();
    CHECK_EQ(pool.statistics().used_bytes, std::size_t{0});
  }
}

// Three threads hold up to an eighth of the limit each: whatever lies in caches, or is on its way, there is room.
TEST(what_fits_is_not_refused_whatever_others_have_cached) {
  constexpr std::size_t kLimit = 32 * kMiB;
  MemoryPool pool{{.limit_bytes = kLimit, .decay_ns = 1'000'000}};
  base::atomic<std::uint64_t> refused{0};
  std::vector<std::thread> threads;
  for (std::uint64_t t = 0; t < 3; ++t) {
    threads.emplace_back([&, t] {
      base::Random random{test::seed() + t};
      for (std::uint64_t i = 0; i < amount(20'000); ++i) {
        void* block = pool.try_allocate(1 + random.next() % (kLimit / 8));
        if (block == nullptr) refused.fetch_add(1);
        pool.deallocate(block);
      }
    });
  }
  for (auto& thread : threads) thread.join();
  CHECK_EQ(refused.load(), std::uint64_t{0});
}

}  // namespace
