// test_hardened.cpp -- each kind of fault that a hardened pool is for, made in a child, is caught and named.
#include <sys/mman.h>

#include <cstdlib>
#include <cstring>
#include <map>
#include <string>
#include <thread>
#include <vector>

#include "../harness.hpp"
#include "last_words.hpp"
#include "tailrace/base/random.hpp"
#include "tailrace/pool/memory_pool.hpp"

namespace {

using namespace tailrace::pool;
using tailrace::test::has;
using tailrace::test::last_words;

constexpr std::size_t kMiB = std::size_t{1} << 20;
// Without decay: a child of several threads may start none under the thread sanitizer.
const PoolOptions kHard{.limit_bytes = 64 * kMiB, .hardened = true, .decay_ns = -1, .guard_one_in = 0};
constexpr std::size_t kSizes[] = {1, 15, 16, 17, 64, 100, 1000, 1024, 5000, 50'000, 65'520, 65'536, 300'000, 5 * kMiB};

unsigned char* bytes_of(void* block) { return static_cast<unsigned char*>(block); }

TEST(an_overrun_by_one_byte_is_caught_at_every_size_and_named) {
  for (const std::size_t bytes : kSizes) {
    MemoryPool pool{kHard};
    const std::string said = last_words([&] {
      void* block = pool.allocate(bytes, 16);
      bytes_of(block)[bytes] ^= 1;
      pool.deallocate(block);
    });
    CHECK(has(said, "behind its end"));
    CHECK(
        has(said, ("block of " + std::to_string(bytes) + " bytes, byte " + std::to_string(bytes) + " of it").c_str()));
  }
}

TEST(any_byte_changed_behind_the_end_is_caught) {
  for (const std::size_t bytes : {std::size_t{1}, std::size_t{40}, std::size_t{1024}}) {
    MemoryPool pool{kHard};
    const std::size_t room = class_bytes(class_of(bytes + 16, 16));
    for (std::size_t at = bytes; at < room; at += room > 256 ? 37 : 1) {
      for (const int change : {1, 0x80, 0xFF}) {
        CHECK(has(last_words([&] {
                    void* block = pool.allocate(bytes, 16);
                    bytes_of(block)[at] = static_cast<unsigned char>(bytes_of(block)[at] ^ change);
                    pool.deallocate(block);
                  }),
                  "behind its end"));
      }
    }
  }
}

TEST(a_block_that_is_written_to_its_last_byte_is_nobodys_fault) {
  MemoryPool pool{kHard};
  for (int round = 0; round < 300; ++round) {
    for (const std::size_t bytes : kSizes) {
      if (round > 20 && bytes > 100'000) continue;
      void* block = pool.allocate(bytes, 16);
      std::memset(block, round, bytes);
      CHECK_EQ(pool.usable_bytes(block), bytes);
      pool.deallocate(block);
    }
  }
  CHECK_EQ(pool.statistics().used_bytes, std::size_t{0});
  CHECK(pool.statistics().quarantined_bytes > 0);
  CHECK(pool.check() > 0);
  pool.trim();
  CHECK_EQ(pool.statistics().quarantined_bytes, std::size_t{0});
  CHECK_EQ(pool.statistics().committed_bytes, std::size_t{0});
}

// Every way on which a block leaves quarantine, or is looked at.
TEST(a_write_to_a_freed_block_is_caught_whenever_it_is_looked_at) {
  for (const std::size_t bytes : {std::size_t{1}, std::size_t{64}, std::size_t{1024}, std::size_t{50'000}, 2 * kMiB}) {
    for (const std::size_t at : {std::size_t{0}, bytes / 2, bytes - 1}) {
      MemoryPool pool{kHard};
      const auto caught_by = [&](auto&& look) {
        const std::string said = last_words([&] {
          void* block = pool.allocate(bytes, 16);
          pool.deallocate(block);
          bytes_of(block)[at] = 7;
          look();
        });
        CHECK(has(said, "after it was freed"));
        CHECK(has(said, ("byte " + std::to_string(at) + " of it").c_str()));
      };
      caught_by([&] { pool.trim(); });
      caught_by([&] { pool.check(); });
      caught_by([&] { pool.close(); });
      caught_by([&] {
        for (int i = 0; i < 600; ++i) pool.deallocate(pool.allocate(bytes, 16));
      });
      caught_by([&] {
        while (pool.try_allocate(1000) != nullptr) {
        }
      });
    }
  }
}

#ifndef __SANITIZE_THREAD__  // which lets no child of several threads start one
TEST(a_write_to_a_freed_block_is_caught_when_the_thread_that_freed_it_ends) {
  MemoryPool pool{kHard};
  CHECK(has(last_words([&] {
              std::thread{[&] {
                void* block = pool.allocate(100);
                pool.deallocate(block);
                bytes_of(block)[50] = 1;
              }}.join();
            }),
            "after it was freed"));
}
#endif

TEST(a_block_freed_twice_is_caught_at_every_size_in_quarantine_and_after_it) {
  for (const std::size_t bytes : kSizes) {
    MemoryPool pool{kHard};
    void* block = pool.allocate(bytes);
    pool.deallocate(block);
    CHECK(has(last_words([&] { pool.deallocate(block); }), "freed twice"));
    // The thread forks, since ThreadSanitizer lets no child of several threads start one.
    std::thread{[&] { CHECK(has(last_words([&] { pool.deallocate(block); }), "freed twice")); }}.join();
    pool.trim();
    CHECK(has(last_words([&] { pool.deallocate(block); }), "freed twice"));
  }
}

TEST(a_pointer_into_a_block_of_a_hardened_pool_is_caught) {
  MemoryPool pool{kHard};
  for (const std::size_t bytes : {std::size_t{64}, std::size_t{50'000}, kMiB}) {
    CHECK(has(last_words([&] { pool.deallocate(bytes_of(pool.allocate(bytes)) + 16); }), "inside of a block"));
  }
}

TEST(freed_memory_is_poison) {
  MemoryPool pool{kHard};
  for (const std::size_t bytes : {std::size_t{100}, std::size_t{10'000}, kMiB}) {
    unsigned char* block = bytes_of(pool.allocate(bytes));
    std::memset(block, 1, bytes);
    pool.deallocate(block);
    CHECK_EQ(int{block[0]}, int{kPoison});
    CHECK(std::memcmp(block, block + 1, bytes - 1) == 0);
  }
}

TEST(a_freed_block_waits_until_others_have_been_freed) {
  MemoryPool pool{kHard};
  void* first = pool.allocate(100);
  pool.deallocate(first);
  for (int i = 0; i < 60; ++i) {
    void* next = pool.allocate(100);
    CHECK(next != first);
    pool.deallocate(next);
  }
}

TEST(behind_a_guard_the_first_touch_ends_the_process) {
  PoolOptions options = kHard;
  options.guard_one_in = 1;
  MemoryPool pool{options};
  for (const std::size_t bytes : {std::size_t{70'000}, 3 * kMiB}) {
    void* block = pool.allocate(bytes);
    const std::size_t room = (bytes + 16 + kSliceBytes - 1) / kSliceBytes * kSliceBytes;
    CHECK(!last_words([&] { *const_cast<volatile unsigned char*>(bytes_of(block) + room) = 1; }, SIGSEGV).empty());
    bytes_of(block)[bytes - 1] = 1;
    pool.deallocate(block);
  }
  pool.trim();
  CHECK_EQ(pool.statistics().committed_bytes, std::size_t{0});
  void* whole = pool.allocate(60 * kMiB);  // where guards were
  std::memset(whole, 1, 60 * kMiB);
  pool.deallocate(whole);
}

TEST(what_was_asked_for_as_secret_is_gone_when_it_is_freed_hardened_or_not) {
  for (const bool hardened : {false, true}) {
    MemoryPool pool{{.limit_bytes = 16 * kMiB, .hardened = hardened, .decay_ns = -1}};
    for (const std::size_t bytes : {std::size_t{32}, std::size_t{10'000}, kMiB}) {
      auto* secret = bytes_of(pool.allocate_secret(bytes));
      std::memset(secret, 'k', bytes);
      pool.deallocate(secret);
      for (std::size_t i = 0; i < bytes; ++i) {
        if (secret[i] == 'k' && secret[i / 2] == 'k') CHECK(false);
      }
      CHECK(has(last_words([&] { pool.deallocate(secret); }), "freed twice"));
      pool.deallocate(pool.allocate(bytes));
    }
  }
}

TEST(links_in_free_blocks_are_no_pointers_and_a_spoilt_one_is_caught) {
  MemoryPool pool{{.limit_bytes = 16 * kMiB, .decay_ns = -1}};
  std::vector<void*> blocks;
  for (int i = 0; i < 400; ++i) blocks.push_back(pool.allocate(64));
  for (void* block : blocks) pool.deallocate(block);
  int linked = 0;
  for (void* block : blocks) {
    std::uintptr_t word;
    std::memcpy(&word, block, sizeof word);
    CHECK(!pool.owns(reinterpret_cast<void*>(word)));
    linked += word != 0 ? 1 : 0;
  }
  CHECK(linked > 100);
  CHECK(has(last_words([&] {
              for (void* block : blocks) std::memset(block, 0x41, 8);
              for (int i = 0; i < 400; ++i) pool.allocate(64);
            }),
            "over its link"));
}

TEST(an_exhausted_hardened_pool_takes_what_waits) {
  MemoryPool pool{kHard};
  void* most = pool.allocate(40 * kMiB);
  for (int i = 0; i < 8; ++i) pool.deallocate(pool.allocate(kMiB));
  CHECK(pool.statistics().quarantined_bytes >= 7 * kMiB);
  void* rest = pool.try_allocate(20 * kMiB);
  CHECK(rest != nullptr);
  CHECK_EQ(pool.statistics().quarantined_bytes, std::size_t{0});
  pool.deallocate(rest);
  pool.deallocate(most);
  void* whole = pool.try_allocate(pool.options().limit_bytes - Hardened::kTailBytes);
  CHECK(whole != nullptr);
  CHECK(pool.try_allocate(static_cast<std::size_t>(-1)) == nullptr);
  CHECK(pool.try_allocate(pool.options().limit_bytes) == nullptr);
  pool.deallocate(whole);
}

TEST(what_waits_is_bounded) {
  MemoryPool pool{kHard};
  for (int i = 0; i < 200; ++i) pool.deallocate(pool.allocate(kMiB));
  CHECK(pool.statistics().quarantined_bytes <= 8 * kMiB);
  for (std::size_t bytes = 16; bytes < 60'000; bytes += bytes / 3) {
    std::vector<void*> blocks;
    for (int i = 0; i < 500; ++i) blocks.push_back(pool.allocate(bytes));
    for (void* block : blocks) pool.deallocate(block);
  }
  CHECK(pool.statistics().quarantined_bytes <= 12 * kMiB);
}

TEST(the_environment_hardens_every_pool) {
  const char* before = std::getenv("TAILRACE_POOL_HARDENED");
  CHECK(before == nullptr || MemoryPool{}.options().hardened);
  CHECK(has(last_words([&] {
              setenv("TAILRACE_POOL_HARDENED", "1", 1);
              MemoryPool pool;
              auto* block = bytes_of(pool.allocate(24));
              block[24] = 0;
              pool.deallocate(block);
            }),
            "block of 24 bytes"));
}

TEST(a_hook_is_told_before_the_process_ends) {
  MemoryPool pool{kHard};
  CHECK(has(last_words([&] {
              on_fault([](const Fault& fault) noexcept {
                std::fprintf(stderr, "hook: %s of %zu", fault.what, fault.bytes);
              });
              auto* block = bytes_of(pool.allocate(100));
              block[100] = 0;
              pool.deallocate(block);
            }),
            "behind its end of 100"));
}

// As in test_memory_pool.cpp: blocks do not overlap, keep what is written to them and are aligned.
TEST(random_programs_of_a_hardened_pool_agree_with_a_shadow_of_the_memory) {
  struct Live {
    std::size_t bytes;
    unsigned char fill;
  };
  tailrace::base::Random random{tailrace::test::seed()};
  PoolOptions options{.limit_bytes = 24 * kMiB, .hardened = true, .guard_one_in = 4};
  MemoryPool pool{options};
  std::map<unsigned char*, Live> live;
  for (int i = 0; i < 20'000; ++i) {
    if (random.next() % 2 == 0 || live.empty()) {
      const std::size_t scale = std::size_t{1} << (random.next() % 20), bytes = scale + random.next() % scale;
      const std::size_t alignment = std::size_t{16} << (random.next() % 13);
      auto* memory = static_cast<unsigned char*>(pool.try_allocate(bytes, alignment));
      if (memory == nullptr) continue;
      CHECK_EQ(reinterpret_cast<std::uintptr_t>(memory) % alignment, std::uintptr_t{0});
      const auto after = live.lower_bound(memory);
      CHECK(after == live.end() || memory + bytes + 16 <= after->first);
      const Live block{pool.usable_bytes(memory), static_cast<unsigned char>(random.next())};
      CHECK_EQ(block.bytes, bytes);
      std::memset(memory, block.fill, block.bytes);
      live.emplace(memory, block);
    } else {
      const auto which = std::next(live.begin(), static_cast<long>(random.next() % live.size()));
      const auto [memory, block] = *which;
      CHECK(memory[0] == block.fill && std::memcmp(memory, memory + 1, block.bytes - 1) == 0);
      pool.deallocate(memory);
      live.erase(which);
    }
    if (i % 512 == 0) {
      const PoolStatistics now = pool.statistics();
      CHECK_EQ(now.n_alloc - now.n_free, live.size());
      CHECK(now.quarantined_bytes <= now.cached_bytes);
      CHECK_EQ(now.committed_bytes, now.used_bytes + now.cached_bytes + now.retained_bytes);
    }
  }
  for (const auto& [memory, block] : live) pool.deallocate(memory);
  CHECK_EQ(pool.statistics().used_bytes, std::size_t{0});
  pool.trim();
  CHECK_EQ(pool.statistics().committed_bytes, std::size_t{0});
}

TEST(threads_of_a_hardened_pool_free_each_others_blocks) {
  MemoryPool pool{kHard};
  std::vector<std::vector<unsigned char*>> blocks(3);
  tailrace::base::atomic<int> ready{0};
  std::vector<std::thread> threads;
  for (std::size_t t = 0; t < blocks.size(); ++t) {
    threads.emplace_back([&, t] {
      tailrace::base::Random random{tailrace::test::seed() + t};
      for (int i = 0; i < 2000; ++i) {
        const std::size_t bytes = random.next() % 3000 + 1;
        auto* block = bytes_of(pool.allocate(bytes));
        block[bytes - 1] = 1;
        blocks[t].push_back(block);
      }
      ready.fetch_add(1);
      while (ready.load() < 3) std::this_thread::yield();
      for (auto* block : blocks[(t + 1) % 3]) pool.deallocate(block);
    });
  }
  for (auto& thread : threads) thread.join();
  CHECK_EQ(pool.statistics().used_bytes, std::size_t{0});
  CHECK_EQ(pool.statistics().n_free, std::uint64_t{6000});
}

}  // namespace
