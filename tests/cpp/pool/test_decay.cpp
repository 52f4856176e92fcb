// test_decay.cpp -- memory goes back to the system when it has not been used for so long; on a virtual clock.
#include <sys/syscall.h>
#include <unistd.h>

#include <cstring>
#include <memory>
#include <thread>
#include <vector>

#include "../harness.hpp"
#include "tailrace/base/clock.hpp"
#include "tailrace/pool/memory_pool.hpp"

namespace {

using namespace tailrace::pool;

constexpr std::size_t kMiB = std::size_t{1} << 20;
constexpr std::int64_t kSecond = 1'000'000'000;

struct World {
  explicit World(PoolOptions options = {.limit_bytes = 128 * kMiB}) {
    clock.advance_to(100 * kSecond);
    options.clock = &clock;
    pool = std::make_unique<MemoryPool>(options);
    pool->purge();
  }
  void pass(double seconds) {
    now += static_cast<std::int64_t>(seconds * 1e9);
    clock.advance_to(now);
    pool->purge();
  }
  tailrace::base::VirtualClock clock;
  std::int64_t now = 100 * kSecond;
  std::unique_ptr<MemoryPool> pool;
};

TEST(without_traffic_all_goes_back_within_two_times_the_decay) {
  World world;
  void* blocks[10];
  for (auto& block : blocks) block = world.pool->allocate(5 * kMiB);
  void* small = world.pool->allocate(1000);
  world.pass(0.5);
  for (void* block : blocks) world.pool->deallocate(block);
  world.pool->deallocate(small);
  CHECK(world.pool->statistics().committed_bytes >= 50 * kMiB);
  for (int i = 0; i < 4; ++i) world.pass(0.5);
  CHECK_EQ(world.pool->statistics().committed_bytes, std::size_t{0});
  CHECK(world.pool->statistics().purged_bytes >= 50 * kMiB);
}

TEST(while_there_is_traffic_half_of_the_recent_peak_stays) {
  World world;
  void* big = world.pool->allocate(64 * kMiB);
  world.pass(0.5);
  world.pool->deallocate(big);
  for (int i = 0; i < 6; ++i) {
    world.pool->deallocate(world.pool->allocate(64));
    world.pass(0.5);
  }
  const std::size_t kept = world.pool->statistics().committed_bytes;
  CHECK(kept >= 16 * kMiB && kept <= 36 * kMiB);
  for (int i = 0; i < 80; ++i) {
    world.pool->deallocate(world.pool->allocate(64));
    world.pass(0.5);
  }
  CHECK(world.pool->statistics().committed_bytes <= 6 * kMiB);
}

TEST(scattered_survivors_keep_their_slices_only) {
  World world;
  std::vector<void*> blocks;
  for (int i = 0; i < 320; ++i) blocks.push_back(world.pool->allocate(128 << 10));  // 40 MiB
  for (std::size_t i = 0; i < blocks.size(); ++i) {
    std::memset(blocks[i], 7, 128 << 10);
    if (i % 16 != 0) world.pool->deallocate(blocks[i]);
  }
  world.pass(0.5);
  for (int i = 0; i < 12; ++i) world.pass(0.5);
  const PoolStatistics after = world.pool->statistics();
  CHECK(after.committed_bytes <= 2 * after.used_bytes);
  for (std::size_t i = 0; i < blocks.size(); i += 16) {
    CHECK_EQ(static_cast<unsigned char*>(blocks[i])[70'000], 7);
    world.pool->deallocate(blocks[i]);
  }
}

TEST(what_others_free_comes_home_though_the_owner_asks_for_other_sizes_only) {
  World world;
  std::vector<void*> blocks;
  for (int i = 0; i < 10'000; ++i) blocks.push_back(world.pool->allocate(1000));
  std::thread{[&] {
    for (void* block : blocks) world.pool->deallocate(block);
  }}.join();
  for (int i = 0; i < 8; ++i) {
    world.pool->deallocate(world.pool->allocate(100'000));
    world.pass(0.5);
  }
  CHECK(world.pool->statistics().cached_bytes <= 3 << 20);
}

TEST(a_swing_between_much_and_little_keeps_its_memory) {
  World world;
  const auto swing = [&world] {
    std::vector<void*> blocks;
    for (int i = 0; i < 12; ++i) blocks.push_back(world.pool->allocate((3 << 20) + (i % 3 << 20)));
    for (void* block : blocks) world.pool->deallocate(block);
  };
  swing();
  const std::uint64_t purged = world.pool->statistics().purged_bytes;
  for (int i = 0; i < 50; ++i) swing();
  CHECK_EQ(world.pool->statistics().purged_bytes, purged);
}

TEST(what_was_reserved_stays_and_what_is_retained_by_wish_stays) {
  World world{{.limit_bytes = 64 * kMiB, .min_retained_bytes = 4 * kMiB}};
  world.pool->deallocate(world.pool->allocate(20 * kMiB));
  for (int i = 0; i < 8; ++i) world.pass(1);
  CHECK_EQ(world.pool->statistics().committed_bytes, 4 * kMiB);
  CHECK(world.pool->reserve(16 * kMiB, true) >= 16 * kMiB);
  for (int i = 0; i < 8; ++i) world.pass(1);
  CHECK_EQ(world.pool->statistics().committed_bytes, 16 * kMiB);
  CHECK(world.pool->trim() >= 16 * kMiB);
  CHECK_EQ(world.pool->statistics().committed_bytes, std::size_t{0});
}

TEST(growth_gives_nothing_back_of_what_was_reserved) {
  World world{{.limit_bytes = 256 * kMiB}};
  CHECK(world.pool->reserve(64 * kMiB, false) >= 64 * kMiB);
  std::vector<void*> blocks;
  for (int i = 0; i < 80; ++i) blocks.push_back(world.pool->allocate(kMiB));
  CHECK_EQ(world.pool->statistics().n_purge, std::uint64_t{0});
  for (void* block : blocks) world.pool->deallocate(block);
  world.pool->deallocate(world.pool->allocate(100 * kMiB));
  CHECK(world.pool->statistics().committed_bytes >= 64 * kMiB);
}

TEST(a_block_that_comes_back_after_a_purge_is_zero_until_it_is_written) {
  World world;
  auto* block = static_cast<unsigned char*>(world.pool->allocate(4 * kMiB));
  std::memset(block, 9, 4 * kMiB);
  world.pool->deallocate(block);
  world.pool->trim();
  block = static_cast<unsigned char*>(world.pool->allocate(4 * kMiB));
  CHECK_EQ(block[0], 0);
  CHECK_EQ(block[3 * kMiB], 0);
  world.pool->deallocate(block);
}

TEST(memory_that_is_locked_stays_counted_and_is_given_out_again) {
  World world{{.limit_bytes = 16 * kMiB, .huge_pages = HugePages::kOff}};
  auto* block = static_cast<unsigned char*>(world.pool->allocate(kMiB));
  std::memset(block, 5, kMiB);
  CHECK_EQ(syscall(SYS_mlock, block, kMiB), 0);  // the sanitizers make the library's call do nothing
  world.pool->deallocate(block);
  world.pool->trim();
  CHECK(world.pool->statistics().committed_bytes >= kMiB);
  void* most = world.pool->try_allocate(15 * kMiB);
  CHECK(most != nullptr);
  world.pool->deallocate(most);
  syscall(SYS_munlock, block, kMiB);
  world.pool->trim();
  CHECK_EQ(world.pool->statistics().committed_bytes, std::size_t{0});
}

}  // namespace
