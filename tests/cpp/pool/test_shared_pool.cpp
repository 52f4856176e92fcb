// A shared pool within one process, and between a process and its forked children.
#include "tailrace/pool/shared_pool.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>
#include <functional>
#include <map>
#include <random>
#include <thread>
#include <vector>

#include "../harness.hpp"

namespace {

using namespace tailrace::pool;

constexpr std::size_t kMiB = std::size_t{1} << 20;

SharedFault fault_of(const std::function<void()>& call) {
  try {
    call();
  } catch (const SharedPoolError& error) {
    return error.fault();
  }
  CHECK(!"it threw nothing");
  return SharedFault::kClosed;
}

// In a child made by fork, which ends with the body; true if that returned true.
bool in_child(const std::function<bool()>& body) {
  const pid_t child = ::fork();
  if (child == 0) {
    bool good = false;
    try {
      good = body();
    } catch (...) {
    }
    ::_exit(good ? 0 : 1);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

bool holds(const SharedBlock& block, unsigned char value) {
  for (std::size_t i = 0; i < block.bytes(); ++i) {
    if (block.data()[i] != std::byte{value}) return false;
  }
  return true;
}

TEST(a_block_is_seen_by_another_participant_and_lives_while_one_holds_it) {
  SharedPool a{4 * kMiB};
  SharedPool b = SharedPool::attach(a.descriptor());
  CHECK_EQ(a.statistics().participants, 2u);
  SharedBlock block = a.allocate(100'000);
  std::memset(block.data(), 7, block.bytes());
  const SharedHandle handle = a.share(block);
  SharedBlock seen = b.open(handle);
  CHECK(holds(seen, 7) && !seen.writable() && seen.data() != block.data());
  block.reset();
  CHECK(holds(seen, 7));
  CHECK_EQ(a.statistics().blocks, 1u);
  SharedBlock again = a.open(handle, true);
  again.data()[0] = std::byte{9};
  CHECK(seen.data()[0] == std::byte{9});
  seen.reset();
  again.reset();
  CHECK_EQ(a.statistics().used_bytes, 0u);
  CHECK(fault_of([&] { b.open(handle); }) == SharedFault::kStale);
  CHECK_EQ(b.statistics().n_stale, 1u);
}

TEST(a_block_in_transit_outlives_its_sender_s_hold_but_not_two_receivers) {
  SharedPool a{kMiB};
  SharedPool b = SharedPool::attach(a.descriptor());
  SharedHandle handle;
  {
    SharedBlock block = a.allocate(5000);
    std::memset(block.data(), 3, block.bytes());
    handle = a.share(block, true);
  }
  CHECK_EQ(b.statistics().in_transit, 1u);
  {
    const SharedBlock taken = b.open(handle);
    CHECK(holds(taken, 3));
    CHECK_EQ(b.statistics().in_transit, 0u);
  }
  CHECK_EQ(b.statistics().blocks, 0u);
  CHECK(fault_of([&] { b.open(handle); }) == SharedFault::kStale);
}

TEST(what_is_in_transit_outlives_the_pool_that_shared_it) {
  SharedPool b{kMiB};
  SharedHandle handle;
  {
    SharedPool a = SharedPool::attach(b.descriptor());
    handle = a.share(a.allocate(5000), true);
  }
  CHECK_EQ(b.reap(), 0u);
  CHECK_EQ(b.statistics().participants, 2u);
  b.open(handle).reset();
  SharedPool{kMiB};  // whenever a pool goes, those that linger are looked at
  CHECK_EQ(b.statistics().participants, 1u);
}

TEST(blocks_outlive_the_pool_and_are_dropped_in_any_order_by_any_thread) {
  std::vector<SharedBlock> blocks;
  {
    SharedPool pool{kMiB};
    for (int i = 0; i < 10; ++i) blocks.push_back(pool.allocate(10'000));
    pool.close();
    CHECK(fault_of([&] { pool.allocate(1); }) == SharedFault::kClosed);
    pool.share(blocks[0]);
  }
  for (SharedBlock& block : blocks) std::memset(block.data(), 1, block.bytes());
  std::swap(blocks[2], blocks[7]);
  std::thread other{[&] { blocks.resize(5); }};
  other.join();
  for (const SharedBlock& block : blocks) CHECK(holds(block, 1));
}

TEST(the_whole_limit_can_be_allocated_in_one_piece_when_nothing_is_live) {
  std::mt19937_64 random{tailrace::test::seed()};
  SharedPool pool{2 * kMiB};
  std::map<std::byte*, std::pair<SharedBlock, unsigned char>> live;
  for (int i = 0; i < 20'000; ++i) {
    if (random() % 2 == 0) {
      SharedBlock block = pool.allocate(1 + random() % 60'000);
      if (!block) continue;
      CHECK_EQ(reinterpret_cast<std::uintptr_t>(block.data()) % 64, 0u);
      const auto value = static_cast<unsigned char>(random());
      std::memset(block.data(), value, block.bytes());
      std::byte* const at = block.data();
      CHECK(live.emplace(at, std::pair{std::move(block), value}).second);
    } else if (!live.empty()) {
      const auto one = std::next(live.begin(), static_cast<int>(random() % live.size()));
      CHECK(holds(one->second.first, one->second.second));
      live.erase(one);
    }
  }
  CHECK(!pool.allocate(2 * kMiB));
  CHECK_EQ(pool.statistics().held_blocks, live.size());
  live.clear();
  CHECK_EQ(pool.statistics().used_bytes, 0u);
  const SharedBlock all = pool.allocate(2 * kMiB);
  CHECK(all && pool.statistics().largest_free_bytes == 0);
}

TEST(threads_allocate_open_and_drop_beside_each_other) {
  SharedPool pool{4 * kMiB};
  SharedPool other = SharedPool::attach(pool.descriptor());
  std::vector<std::thread> threads;
  for (unsigned n = 1; n <= 4; ++n) {
    threads.emplace_back([&, n] {
      std::mt19937_64 random{tailrace::test::seed() + n};
      SharedPool& mine = n % 2 == 0 ? pool : other;
      SharedPool& theirs = n % 2 == 0 ? other : pool;
      for (int i = 0; i < 3000; ++i) {
        SharedBlock block = mine.allocate(1 + random() % 20'000);
        if (!block) continue;
        std::memset(block.data(), static_cast<int>(n), block.bytes());
        const SharedBlock seen = theirs.open(mine.share(block));
        const SharedBlock twice = mine.open(mine.share(block));
        block.reset();
        if (!holds(seen, static_cast<unsigned char>(n))) CHECK(!"another thread has written here");
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK_EQ(pool.statistics().used_bytes, 0u);
}

TEST(a_forked_child_holds_what_its_parent_held_and_is_a_participant) {
  SharedPool pool{kMiB};
  SharedBlock block = pool.allocate(5000);
  std::memset(block.data(), 5, block.bytes());
  int ready[2], go[2];
  CHECK(::pipe(ready) == 0 && ::pipe(go) == 0);
  const pid_t child = ::fork();
  if (child == 0) {
    char byte = 0;
    bool good = ::read(go[0], &byte, 1) == 1;  // the parent has dropped it
    good = good && holds(block, 5) && pool.allocate(5000) && pool.statistics().participants == 2;
    good = good && ::write(ready[1], &byte, 1) == 1;
    block.reset();
    ::_exit(good && pool.statistics().blocks == 0 ? 0 : 1);
  }
  block.reset();
  CHECK_EQ(pool.statistics().blocks, 1u);
  CHECK(::write(go[1], "x", 1) == 1);
  int status = 0;
  ::waitpid(child, &status, 0);
  CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
  CHECK_EQ(pool.statistics().blocks, 0u);
  CHECK_EQ(pool.reap(), 1u);
  CHECK_EQ(pool.statistics().participants, 1u);
  for (const int fd : {ready[0], ready[1], go[0], go[1]}) ::close(fd);
}

TEST(a_parent_s_death_is_seen_while_its_child_lives) {
  SharedPool pool{kMiB};
  int go[2];
  CHECK(::pipe(go) == 0);
  const pid_t middle = ::fork();
  if (middle == 0) {
    SharedPool own = SharedPool::attach(pool.descriptor());
    SharedBlock block = own.allocate(5000);
    if (::fork() == 0) {
      char byte = 0;
      (void)!::read(go[0], &byte, 1);
      ::_exit(0);
    }
    ::_exit(0);  // as if it had crashed: nothing is given back
  }
  int status = 0;
  ::waitpid(middle, &status, 0);
  CHECK_EQ(pool.reap(), 2u);  // both of the middle's parts; its child's live on
  CHECK_EQ(pool.statistics().blocks, 1u);
  CHECK(::write(go[1], "x", 1) == 1);
  for (const int fd : go) ::close(fd);
}

TEST(a_process_that_closes_all_its_descriptors_is_not_taken_for_dead) {
  SharedPool pool{kMiB};
  int ready[2], go[2];
  CHECK(::pipe(ready) == 0 && ::pipe(go) == 0);
  const pid_t child = ::fork();
  if (child == 0) {
    const SharedBlock block = pool.allocate(5000);
    std::memset(block.data(), 6, block.bytes());
    for (int fd = 3; fd < 1024; ++fd) {  // as a daemon does
      if (fd != ready[1] && fd != go[0]) ::close(fd);
    }
    char byte = 0;
    (void)!::write(ready[1], &byte, 1);
    (void)!::read(go[0], &byte, 1);
    ::_exit(holds(block, 6) ? 0 : 1);
  }
  char byte = 0;
  CHECK(::read(ready[0], &byte, 1) == 1);
  CHECK_EQ(pool.reap(), 0u);
  CHECK_EQ(pool.statistics().blocks, 1u);
  CHECK(::write(go[1], "x", 1) == 1);
  int status = 0;
  ::waitpid(child, &status, 0);
  CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
  CHECK_EQ(pool.reap(), 1u);
  for (const int fd : {ready[0], ready[1], go[0], go[1]}) ::close(fd);
}

TEST(when_all_slots_are_taken_an_attach_is_refused_and_a_child_has_no_part) {
  SharedPool pool{kMiB};
  SharedBlock block = pool.allocate(100);
  std::vector<SharedPool> all;
  std::vector<SharedHandle> in_transit;
  for (unsigned slots = 1; slots < kSharedSlots; slots += 2) {
    all.push_back(SharedPool::attach(pool.descriptor()));
    in_transit.push_back(all.back().share(all.back().allocate(1), true));  // takes a second one
  }
  CHECK(fault_of([&] { SharedPool::attach(pool.descriptor()); }) == SharedFault::kFull);
  CHECK(fault_of([&] { pool.share(block, true); }) == SharedFault::kFull);
  CHECK(in_child([&] {
    const bool refused = fault_of([&] { pool.allocate(1); }) == SharedFault::kForked;
    block.reset();  // it was not the child's to give back
    all.clear();
    return refused;
  }));
  CHECK_EQ(pool.statistics().participants, all.size() + 1);
  CHECK_EQ(pool.statistics().blocks, all.size() + 1);
  for (const SharedHandle& handle : in_transit) pool.open(handle).reset();
  all.clear();
  CHECK_EQ(pool.statistics().participants, 1u);
  CHECK(in_child([&] { return static_cast<bool>(pool.allocate(1)); }));
}

TEST(wrong_descriptors_are_refused) {
  CHECK_THROWS(std::system_error, SharedPool::attach(-1));
  int pipes[2];
  CHECK(::pipe(pipes) == 0);
  CHECK(fault_of([&] { SharedPool::attach(pipes[0]); }) == SharedFault::kNoMemfd);
  ::close(pipes[0]);
  ::close(pipes[1]);
  const int file = ::memfd_create("test", MFD_ALLOW_SEALING);
  CHECK(fault_of([&] { SharedPool::attach(file); }) == SharedFault::kUnsealed);
  CHECK(::ftruncate(file, 100'000) == 0);
  CHECK(::fcntl(file, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW) == 0);
  CHECK(fault_of([&] { SharedPool::attach(file); }) == SharedFault::kNoPool);
  std::mt19937_64 random{tailrace::test::seed()};
  const SharedPool good{kMiB};
  for (int i = 0; i < 300; ++i) {  // a true header with one byte changed, on a file of another length
    char header[64];
    CHECK(::pread(good.descriptor(), header, 64, 0) == 64);
    header[random() % 40] = static_cast<char>(random());
    CHECK(::pwrite(file, header, 64, 0) == 64);
    const SharedFault fault = fault_of([&] { SharedPool::attach(file); });
    CHECK(fault == SharedFault::kNoPool || fault == SharedFault::kVersion);
  }
  ::close(file);
  CHECK_THROWS(std::invalid_argument, SharedPool{100});
  CHECK_THROWS(std::invalid_argument, SharedPool{~std::size_t{0}});
}

TEST(wrong_handles_are_refused) {
  std::mt19937_64 random{tailrace::test::seed()};
  SharedPool pool{kMiB};
  SharedPool other{kMiB};
  SharedBlock block = pool.allocate(5000);
  const SharedHandle right = pool.share(block);
  CHECK(fault_of([&] { other.open(right); }) == SharedFault::kForeign);
  CHECK(fault_of([&] { other.share(block); }) == SharedFault::kForeign);
  SharedPool reader = SharedPool::attach(pool.descriptor(), false);
  CHECK(fault_of([&] { reader.open(right, true); }) == SharedFault::kReadOnly);
  CHECK(fault_of([&] { reader.allocate(1); }) == SharedFault::kReadOnly);
  CHECK(reader.open(right).bytes() == 5000);
  CHECK_THROWS(std::invalid_argument, pool.allocate(0));
  CHECK(!pool.allocate(~std::size_t{0}));
  for (int i = 0; i < 2000; ++i) {
    SharedHandle wrong = right;
    std::uint64_t* const part[] = {&wrong.offset, &wrong.serial, &wrong.bytes};
    *part[random() % 3] = random() >> random() % 64;
    wrong.courier = random() % 3 == 0 ? random() >> random() % 64 : 0;
    try {
      const SharedBlock opened = reader.open(wrong);
      CHECK(wrong.offset == right.offset && wrong.serial == right.serial && wrong.bytes == right.bytes);
    } catch (const SharedPoolError& error) {
      CHECK(error.fault() == SharedFault::kBad || error.fault() == SharedFault::kStale);
    }
  }
  CHECK_EQ(pool.statistics().blocks, 1u);
}

TEST(trim_gives_the_pages_of_free_memory_back_and_keeps_those_in_use) {
  SharedPool pool{8 * kMiB};
  const auto resident = [&] {
    std::size_t pages = 0;
    std::vector<unsigned char> in_core(8 * kMiB / 4096);
    const SharedBlock all = pool.allocate(7 * kMiB);
    CHECK(::mincore(all.data(), all.bytes(), in_core.data()) == 0);
    for (const unsigned char page : in_core) pages += page & 1;
    return pages;
  };
  const SharedBlock kept = pool.allocate(kMiB);
  std::memset(kept.data(), 8, kMiB);
  {
    SharedBlock block = pool.allocate(7 * kMiB);
    std::memset(block.data(), 1, block.bytes());
  }
  CHECK_EQ(resident(), 7 * kMiB / 4096);
  CHECK_EQ(pool.trim(), 7 * kMiB);
  CHECK_EQ(resident(), 0u);
  CHECK(holds(kept, 8));
}

}  // namespace
