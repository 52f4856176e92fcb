// test_edges.cpp -- sizes at the end of the numbers, large alignments, pools that never decay, what a fork leaves behind.
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <limits>
#include <string>
#include <thread>
#include <vector>

#include "../harness.hpp"
#include "tailrace/pool/memory_pool.hpp"

namespace {

using namespace tailrace::pool;

constexpr std::size_t kMiB = std::size_t{1} << 20;
constexpr std::size_t kMost = std::numeric_limits<std::size_t>::max();

bool begins_at(const void* block, std::size_t alignment) {
  return reinterpret_cast<std::uintptr_t>(block) % alignment == 0;
}

TEST(a_size_near_the_largest_number_is_refused_though_small_blocks_lie_ready) {
  MemoryPool pool{{.limit_bytes = 4 * kMiB}};
  for (std::size_t bytes = 1; bytes <= 4096; bytes *= 2) pool.deallocate(pool.allocate(bytes, 16));
  for (std::size_t alignment = 1; alignment <= kMaxAlignment; alignment *= 2) {
    for (const std::size_t bytes :
         {kMost, kMost - 1, kMost - 14, kMost - 15, kMost - 63, kMost - kMiB, kMost / 2 + 2}) {
      CHECK(pool.try_allocate(bytes, alignment) == nullptr);
    }
    CHECK(class_of(kMost, alignment < 16 ? 16 : alignment) == kHugeClass);
  }
}

TEST(a_large_alignment_is_kept_when_a_larger_block_lies_ready) {
  MemoryPool pool{{.limit_bytes = 256 * kMiB}};
  for (std::size_t units = 1; units <= 8; ++units) {
    std::vector<void*> ready;
    pool.deallocate(pool.allocate(3 * kSliceBytes));
    for (int i = 0; i < 4; ++i) ready.push_back(pool.allocate(units * kUnitBytes + kSliceBytes));
    for (void* block : ready) pool.deallocate(block);
    for (int i = 0; i < 4; ++i) {
      void* block = pool.allocate(units * kUnitBytes, kUnitBytes);
      CHECK(begins_at(block, kUnitBytes));
      pool.deallocate(block);
    }
  }
}

TEST(a_large_alignment_is_kept_when_memory_is_short) {
  for (const auto huge_pages : {HugePages::kAutomatic, HugePages::kOff}) {
    MemoryPool pool{{.limit_bytes = 16 * kMiB, .huge_pages = huge_pages}};
    void* odd = pool.allocate(3 * kSliceBytes);
    std::vector<void*> blocks;
    for (void* block; (block = pool.try_allocate(100, kUnitBytes)) != nullptr; blocks.push_back(block)) {
      CHECK(begins_at(block, kUnitBytes));
      if (blocks.size() == 3) {  // the class of four units no longer fits, three do
        void* three = pool.try_allocate(2 * kUnitBytes + 1, kUnitBytes);
        CHECK(three == nullptr || begins_at(three, kUnitBytes));
        pool.deallocate(three);
      }
    }
    CHECK(blocks.size() >= 6);
    for (void* block : blocks) pool.deallocate(block);
    pool.deallocate(odd);
  }
}

TEST(a_close_wakes_who_waits_for_memory_for_ever) {
  MemoryPool pool{{.limit_bytes = 2 * kMiB}};
  void* block = pool.allocate(2 * kMiB);
  tailrace::base::atomic<bool> waits{false};
  std::thread waiter{[&] {
    waits.store(true);
    CHECK(pool.allocate_within(kMiB, std::numeric_limits<std::int64_t>::max()) == nullptr);
  }};
  while (!waits.load()) std::this_thread::yield();
  pool.close();
  waiter.join();
  pool.deallocate(block);
}

TEST(a_pool_that_never_decays_keeps_its_memory_while_others_decay) {
  MemoryPool never{{.limit_bytes = 32 * kMiB, .decay_ns = -1}};
  MemoryPool quick{{.limit_bytes = 32 * kMiB, .decay_ns = 0}};
  never.deallocate(never.allocate(10 * kMiB));
  quick.deallocate(quick.allocate(10 * kMiB));
  while (quick.statistics().n_purge == 0) std::this_thread::sleep_for(std::chrono::milliseconds{1});
  CHECK_EQ(never.statistics().n_purge, std::uint64_t{0});  // it was looked at before, being older
  CHECK(never.statistics().committed_bytes >= 10 * kMiB);
}

bool has_purge_thread() {
  for (const auto& task : std::filesystem::directory_iterator{"/proc/self/task"}) {
    std::string name;
    std::getline(std::ifstream{task.path() / "comm"}, name);
    if (name == "tailrace-purge") return true;
  }
  return false;
}

TEST(a_forked_child_has_a_purge_thread_of_its_own_after_its_first_free) {
  if (!tailrace::test::kThreadsAfterFork) return;
  MemoryPool pool{{.limit_bytes = 16 * kMiB, .decay_ns = 20'000'000'000}};
  pool.deallocate(pool.allocate(kMiB));  // from now on, for 80 s, the parent's purge thread watches
  const pid_t child = fork();
  if (child == 0) {
    const bool before = has_purge_thread();
    pool.deallocate(pool.allocate(5000));
    while (!has_purge_thread()) std::this_thread::sleep_for(std::chrono::milliseconds{1});
    _exit(before ? 1 : 0);
  }
  int status = -1;
  for (int i = 0; i < 60'000 && waitpid(child, &status, WNOHANG) == 0; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds{1});
  }
  CHECK_EQ(status, 0);
  if (status == -1) kill(child, SIGKILL);
}

// Frees in a destructor of its thread that comes after the pool's own.
struct LateFree {
  ~LateFree() {
    if (pool == nullptr) return;
    pool->deallocate(block);
    flush_remote_frees();
  }
  MemoryPool* pool = nullptr;
  void* block = nullptr;
};

TEST(blocks_that_are_freed_after_the_threads_caches_have_ended_go_home) {
  MemoryPool pool{{.limit_bytes = 2 * kMiB}};
  for (int i = 0; i < 100; ++i) {
    void* block = pool.allocate(100 + static_cast<std::size_t>(i) * 40);
    std::thread{[&] {
      static thread_local LateFree late;
      late.block = block;
      late.pool = &pool;  // its destructor is known before that of the caches, and runs after it
      pool.deallocate(pool.allocate(100));
    }}.join();
  }
  CHECK_EQ(pool.statistics().used_bytes, std::size_t{0});
  void* whole = pool.try_allocate(2 * kMiB);
  CHECK(whole != nullptr);
  pool.deallocate(whole);
}

}  // namespace
