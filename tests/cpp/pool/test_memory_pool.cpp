// test_memory_pool.cpp -- random programs beside a shadow of the memory, and what the limit promises.
#include "tailrace/pool/memory_pool.hpp"

#include <algorithm>
#include <cstring>
#include <map>
#include <memory_resource>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "../harness.hpp"
#include "tailrace/base/random.hpp"

namespace {

using namespace tailrace::pool;

constexpr std::size_t kMiB = std::size_t{1} << 20;

struct Live {
  std::size_t bytes;
  unsigned char fill;
};

std::size_t random_size(tailrace::base::Random& random) {
  const std::size_t scale = std::size_t{1} << (random.next() % 23);
  return random.next() % 16 == 0 ? scale : scale + random.next() % scale;
}

bool is_filled(const unsigned char* memory, const Live& live) {
  return memory[0] == live.fill && std::memcmp(memory, memory + 1, live.bytes - 1) == 0;
}

// Blocks do not overlap, keep what is written to them, and are aligned; used_bytes is what they hold.
void random_program(const PoolOptions& options, std::uint64_t seed, int steps) {
  tailrace::base::Random random{seed};
  MemoryPool pool{options};
  std::map<unsigned char*, Live> live;
  std::size_t held = 0;
  for (int i = 0; i < steps / tailrace::test::kSlower; ++i) {
    if (random.next() % 2 == 0 || live.empty()) {
      const std::size_t bytes = random_size(random), alignment = std::size_t{16} << (random.next() % 13);
      auto* memory = static_cast<unsigned char*>(pool.try_allocate(bytes, alignment));
      if (memory == nullptr) continue;
      CHECK_EQ(reinterpret_cast<std::uintptr_t>(memory) % alignment, std::uintptr_t{0});
      CHECK(pool.owns(memory));
      const std::size_t usable = pool.usable_bytes(memory);
      CHECK(usable >= bytes);
      const auto after = live.lower_bound(memory);
      CHECK(after == live.end() || memory + usable <= after->first);
      CHECK(after == live.begin() || std::prev(after)->first + std::prev(after)->second.bytes <= memory);
      const Live block{usable, static_cast<unsigned char>(random.next())};
      std::memset(memory, block.fill, block.bytes);
      live.emplace(memory, block);
      held += usable;
    } else {
      auto which = live.lower_bound(reinterpret_cast<unsigned char*>(random.next()));
      if (which == live.end()) which = std::next(live.begin(), static_cast<long>(random.next() % live.size()));
      CHECK(is_filled(which->first, which->second));
      held -= which->second.bytes;
      pool.deallocate(which->first);
      live.erase(which);
    }
    if (i % 512 == 0) {
      const PoolStatistics now = pool.statistics();
      CHECK_EQ(now.used_bytes, held);
      CHECK_EQ(now.n_alloc - now.n_free, live.size());
      CHECK(now.committed_bytes <= now.limit_bytes);
      CHECK_EQ(now.committed_bytes, now.used_bytes + now.cached_bytes + now.retained_bytes);
    }
    if (i % 4096 == 0) pool.trim(random.next() % (8 * kMiB));
  }
  for (const auto& [memory, block] : live) {
    CHECK(is_filled(memory, block));
    pool.deallocate(memory);
  }
  CHECK_EQ(pool.statistics().used_bytes, std::size_t{0});
  void* whole = pool.try_allocate(pool.options().limit_bytes);
  CHECK(whole != nullptr);
  pool.deallocate(whole);
  pool.trim();
  CHECK_EQ(pool.statistics().committed_bytes, std::size_t{0});
}

TEST(random_programs_of_a_pool_agree_with_a_shadow_of_the_memory) {
  for (std::uint64_t i = 0; i < 4; ++i) {
    random_program({.limit_bytes = 64 * kMiB}, tailrace::test::seed() + i, 20'000);
    random_program({.limit_bytes = 5 * kMiB + 77}, tailrace::test::seed() + i, 10'000);
    random_program({.limit_bytes = 48 * kMiB, .huge_pages = HugePages::kOff, .cache_bytes = 0},
                   tailrace::test::seed() + i, 10'000);
  }
}

TEST(when_nothing_lives_the_whole_limit_is_one_block_whoever_freed_what) {
  MemoryPool pool{{.limit_bytes = 32 * kMiB}};
  for (int round = 0; round < 20; ++round) {
    std::vector<std::vector<void*>> blocks(4);
    std::vector<std::thread> threads;
    tailrace::base::atomic<int> ready{0};
    tailrace::base::atomic<bool> over{false};
    for (std::size_t t = 0; t < blocks.size(); ++t) {
      threads.emplace_back([&, t] {
        tailrace::base::Random random{tailrace::test::seed() + t + static_cast<std::uint64_t>(round) * 7};
        for (int i = 0; i < 300; ++i) {
          if (void* block = pool.try_allocate(random_size(random) / 16 + 1)) blocks[t].push_back(block);
        }
        ready.fetch_add(1);
        while (ready.load() < 4) std::this_thread::yield();
        for (void* block : blocks[(t + 1) % 4]) pool.deallocate(block);
        ready.fetch_add(1);
        while (!over.load()) std::this_thread::yield();  // alive, with all that it has cached
      });
    }
    while (ready.load() < 8) std::this_thread::yield();
    void* whole = pool.try_allocate(pool.options().limit_bytes);
    CHECK(whole != nullptr);
    pool.deallocate(whole);
    over.store(true);
    for (auto& thread : threads) thread.join();
  }
}

TEST(ten_thousand_threads_one_after_the_other_leave_one_cache_and_no_memory) {
  constexpr int kThreads = 10'000 / tailrace::test::kSlower;
  MemoryPool pool{{.limit_bytes = 16 * kMiB}};
  for (int i = 0; i < kThreads; ++i) {
    std::thread{[&] {
      void* small = pool.allocate(100);
      void* large = pool.allocate(200'000);
      pool.deallocate(large);
      pool.deallocate(small);
    }}.join();
  }
  const PoolStatistics after = pool.statistics();
  CHECK_EQ(after.n_alloc, std::uint64_t{2 * kThreads});
  CHECK_EQ(after.n_free, std::uint64_t{2 * kThreads});
  CHECK_EQ(after.used_bytes, std::size_t{0});
  CHECK(after.n_caches <= 3);
  CHECK(after.peak_committed_bytes <= 4 * kMiB);
}

TEST(a_pool_that_is_exhausted_says_what_it_has) {
  MemoryPool pool{{.limit_bytes = 2 * kMiB}};
  void* block = pool.allocate(3 * kMiB / 2);
  CHECK(pool.try_allocate(kMiB) == nullptr);
  try {
    pool.allocate(kMiB);
    CHECK(false);
  } catch (const PoolExhausted& exhausted) {
    CHECK_EQ(exhausted.shortage().bytes, kMiB);
    CHECK_EQ(exhausted.shortage().limit_bytes, 2 * kMiB);
    CHECK_EQ(exhausted.shortage().used_bytes, 3 * kMiB / 2);
    CHECK_EQ(exhausted.shortage().largest_free_bytes, kMiB / 2);
    CHECK(std::string{exhausted.what()}.find("limit 2097152, used 1572864") != std::string::npos);
  }
  CHECK(pool.try_allocate(static_cast<std::size_t>(-1)) == nullptr);
  CHECK_EQ(pool.statistics().n_exhausted, std::uint64_t{3});
  pool.deallocate(block);
}

TEST(who_waits_for_memory_gets_it_when_another_thread_frees) {
  MemoryPool pool{{.limit_bytes = 2 * kMiB}};
  void* block = pool.allocate(2 * kMiB);
  CHECK(pool.allocate_within(kMiB, 0) == nullptr);
  std::thread other{[&] { pool.deallocate(block); }};
  void* late = pool.allocate_within(kMiB, 60'000'000'000);
  CHECK(late != nullptr);
  other.join();
  pool.deallocate(late);
}

TEST(a_closed_pool_refuses_and_still_takes_back) {
  MemoryPool pool{{.limit_bytes = 2 * kMiB}};
  void* block = pool.allocate(1000);
  pool.close();
  CHECK(pool.closed());
  CHECK(pool.try_allocate(1) == nullptr);
  CHECK(pool.shortage(1).closed);
  pool.deallocate(block);
  CHECK_EQ(pool.statistics().used_bytes, std::size_t{0});
}

TEST(impossible_options_are_refused) {
  const auto refused = [](const PoolOptions& options) {
    try {
      MemoryPool{options};
    } catch (const std::invalid_argument&) {
      return true;
    }
    return false;
  };
  CHECK(refused({.limit_bytes = 0}));
  CHECK(refused({.limit_bytes = kMinLimitBytes - 1}));
  CHECK(refused({.limit_bytes = kMaxLimitBytes + 1}));
  CHECK(refused({.limit_bytes = kMiB, .min_retained_bytes = 2 * kMiB}));
  CHECK(refused({.clock = nullptr}));
}

TEST(containers_of_the_standard_library_live_in_a_pool) {
  MemoryPool pool{{.limit_bytes = 8 * kMiB}};
  {
    std::pmr::map<int, std::pmr::vector<int>> numbers{pool.resource()};
    for (int i = 0; i < 1000; ++i) numbers[i].assign(static_cast<std::size_t>(i % 50), i);
    CHECK(pool.statistics().n_alloc > 1900);
    CHECK_EQ(numbers[777].back(), 777);
  }
  CHECK_EQ(pool.statistics().used_bytes, std::size_t{0});
  void* block = pool.blocks().take(100);
  CHECK_EQ(reinterpret_cast<std::uintptr_t>(block) % 64, std::uintptr_t{0});
  pool.blocks().give(block, 100);
}

// Fails at the n-th allocation, as a machine does that has no more memory.
struct FailsAt final : std::pmr::memory_resource {
  FailsAt(std::pmr::memory_resource* of, int nth) : upstream{of}, left{nth} {}
  void* do_allocate(std::size_t bytes, std::size_t alignment) override {
    if (left-- == 0) throw std::bad_alloc{};
    return upstream->allocate(bytes, alignment);
  }
  void do_deallocate(void* block, std::size_t bytes, std::size_t alignment) override {
    upstream->deallocate(block, bytes, alignment);
  }
  bool do_is_equal(const memory_resource& other) const noexcept override { return this == &other; }
  std::pmr::memory_resource* upstream;
  int left;
};

TEST(an_allocation_that_fails_wherever_it_stands_loses_nothing) {
  MemoryPool pool{{.limit_bytes = 8 * kMiB}};
  int failed = 0;
  for (int nth = 0;; ++nth) {
    FailsAt resource{pool.resource(), nth};
    try {
      std::pmr::map<int, std::pmr::vector<int>> numbers{&resource};
      for (int i = 0; i < 40; ++i) numbers[i].assign(static_cast<std::size_t>(i) * 100, i);
      break;
    } catch (const std::bad_alloc&) {
      ++failed;
    }
    CHECK_EQ(pool.statistics().used_bytes, std::size_t{0});
  }
  CHECK_EQ(failed, 79);  // 40 nodes, 39 vectors that are not empty
  CHECK_EQ(pool.statistics().n_alloc, pool.statistics().n_free);
}

}  // namespace
