// test_faults.cpp -- each wrong free ends the process with its reason; each is made in a child.
#include <sys/wait.h>
#include <unistd.h>

#include <string>
#include <thread>

#include "../harness.hpp"
#include "last_words.hpp"
#include "tailrace/pool/memory_pool.hpp"

namespace {

using namespace tailrace::pool;
using tailrace::test::has;
using tailrace::test::last_words;

constexpr std::size_t kMiB = std::size_t{1} << 20;

// No pool here decays: a child would start a thread, which the thread sanitizer does not allow after a fork.

TEST(a_block_freed_twice_ends_the_process_at_every_size) {
  for (const std::size_t bytes :
       {std::size_t{1}, std::size_t{100}, std::size_t{5000}, std::size_t{50'000}, kMiB, 90 * kMiB}) {
    MemoryPool pool{{.limit_bytes = 128 * kMiB, .decay_ns = -1}};
    CHECK(has(last_words([&] {
                void* block = pool.allocate(bytes);
                pool.deallocate(block);
                pool.deallocate(block);
              }),
              "freed twice"));
  }
}

TEST(a_block_freed_by_two_threads_ends_the_process) {
  if (!tailrace::test::kThreadsAfterFork) return;
  MemoryPool pool{{.decay_ns = -1}};
  CHECK(has(last_words([&] {
              void* block = pool.allocate(100);
              std::thread{[&] { pool.deallocate(block); }}.join();
              pool.deallocate(block);
            }),
            "freed twice"));
}

TEST(a_pointer_into_a_block_ends_the_process) {
  MemoryPool pool{{.decay_ns = -1}};
  for (const std::size_t bytes : {std::size_t{64}, std::size_t{50'000}, kMiB}) {
    for (const std::ptrdiff_t inside : {1, 8, 15, 16}) {
      CHECK(has(last_words([&] { pool.deallocate(static_cast<char*>(pool.allocate(bytes)) + inside); }),
                "inside of a block"));
    }
  }
}

TEST(a_pointer_from_elsewhere_ends_the_process) {
  MemoryPool pool{{.decay_ns = -1}}, other{{.decay_ns = -1}};
  int local = 0;
  CHECK(has(last_words([&] { pool.deallocate(&local); }), "not from it"));
  CHECK(has(last_words([&] { pool.deallocate(other.allocate(64)); }), "not from it"));
  CHECK(last_words([&] { pool.deallocate(nullptr); }).empty());
}

TEST(a_forked_child_frees_what_it_inherits_and_allocates_anew) {
  if (!tailrace::test::kThreadsAfterFork) return;
  MemoryPool pool{{.limit_bytes = 64 * kMiB}};
  tailrace::base::atomic<bool> over{false};
  std::thread busy{[&] {
    while (!over.load()) pool.deallocate(pool.allocate(3000));
  }};
  for (int i = 0; i < 50; ++i) {
    void* inherited = pool.allocate(100);
    void* large = pool.allocate(2 * kMiB);
    const pid_t child = fork();
    if (child == 0) {
      pool.deallocate(inherited);
      pool.deallocate(large);
      std::thread{[&] { pool.deallocate(pool.allocate(200)); }}.join();
      void* most = pool.try_allocate(32 * kMiB);
      _exit(most != nullptr ? 0 : 1);
    }
    int status = 0;
    waitpid(child, &status, 0);
    CHECK_EQ(status, 0);
    pool.deallocate(inherited);
    pool.deallocate(large);
  }
  over.store(true);
  busy.join();
}

}  // namespace
