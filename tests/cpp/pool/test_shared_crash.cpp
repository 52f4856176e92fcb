// Processes that swap blocks while one of them is killed again and again: nothing is lost, nothing is given out twice.
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <cstring>
#include <deque>
#include <random>

#include "../harness.hpp"
#include "tailrace/pool/shared_pool.hpp"

namespace {

using namespace tailrace::pool;

constexpr std::size_t kLimit = std::size_t{1} << 20;

struct Message {
  SharedHandle handle;
  std::uint64_t from_survivor;
};

// What the processes see of each other besides the pool.
struct Board {
  std::atomic<std::uint64_t> victims_steps;
  std::atomic<std::uint64_t> opened;  // blocks that came from another process
  std::atomic<int> stop;
};

unsigned char pattern(std::uint64_t serial) { return static_cast<unsigned char>(serial >> 6 ^ serial); }

bool is_whole(const SharedBlock& block, std::uint64_t serial) {
  for (std::size_t i = 0; i < block.bytes(); i += 61) {
    if (block.data()[i] != std::byte{pattern(serial)}) return false;
  }
  return true;
}

struct Kept {
  SharedBlock block;
  std::uint64_t serial;
};

// Allocates, fills, sends, receives and drops; false: it saw what must not be.
bool swap_blocks(SharedPool& pool, int in, int out, std::uint64_t seed, bool survivor, Board& board) {
  std::mt19937_64 random{seed};
  std::deque<Kept> kept;
  while (board.stop.load() == 0) {
    if (!survivor) ++board.victims_steps;
    if (random() % 2 == 0) {
      SharedBlock block = pool.allocate(1 + random() % 40'000);
      if (block) {
        SharedHandle handle = pool.share(block, random() % 2 == 0);
        std::memset(block.data(), pattern(handle.serial), block.bytes());
        const Message message{handle, survivor && handle.courier != 0};
        const bool sent = ::write(out, &message, sizeof(message)) == sizeof(message);
        if (!sent && handle.courier != 0) pool.open(handle).reset();  // nobody else will
        if (random() % 2 == 0) kept.push_back({std::move(block), handle.serial});
      }
    } else if (Message message{}; ::read(in, &message, sizeof(message)) == sizeof(message)) {
      try {
        SharedBlock block = pool.open(message.handle, random() % 2 == 0);
        if (!is_whole(block, message.handle.serial)) return false;
        ++board.opened;
        if (random() % 2 == 0) kept.push_back({std::move(block), message.handle.serial});
      } catch (const SharedPoolError& error) {
        if (error.fault() != SharedFault::kStale || message.from_survivor != 0) return false;
      }
    }
    while (kept.size() > random() % 8) {
      if (!is_whole(kept.front().block, kept.front().serial)) return false;
      kept.pop_front();
    }
  }
  return true;
}

TEST(processes_killed_at_random_moments_lose_no_memory_and_spoil_none) {
  std::mt19937_64 random{tailrace::test::seed()};
  SharedPool pool{kLimit};
  auto* const board =
      static_cast<Board*>(::mmap(nullptr, sizeof(Board), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
  int ends[2];
  CHECK(::pipe2(ends, O_NONBLOCK) == 0);
  const auto start = [&](bool survivor) {
    const std::uint64_t seed = random();
    const pid_t child = ::fork();
    if (child != 0) return child;
    bool good = false;
    try {
      good = swap_blocks(pool, ends[0], ends[1], seed, survivor, *board);
    } catch (const std::exception& error) {
      tailrace::test::report(__FILE__, __LINE__, error.what());
    }
    ::_exit(good ? 0 : 1);
  };
  const pid_t survivors[] = {start(true), start(true)};
  const std::uint64_t kills = 60 * tailrace::test::stress_factor();
  for (std::uint64_t i = 0; i < kills; ++i) {
    const pid_t victim = start(false);
    const std::uint64_t until = board->victims_steps + random() % 300;
    int status = 0;
    while (board->victims_steps < until && ::waitpid(victim, &status, WNOHANG) == 0) ::usleep(20);
    for (volatile std::uint64_t spin = random() % 3000; spin > 0;) spin = spin - 1;
    ::kill(victim, SIGKILL);
    ::waitpid(victim, &status, 0);
    CHECK(WIFSIGNALED(status));  // else it has seen what must not be
    if (random() % 2 == 0) pool.reap();
  }
  board->stop = 1;
  for (const pid_t survivor : survivors) {
    int status = 0;
    ::waitpid(survivor, &status, 0);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
  }
  CHECK(board->opened > kills);
  pool.reap();
  const SharedStatistics left = pool.statistics();
  CHECK_EQ(left.participants, 1u);
  CHECK_EQ(left.blocks, 0u);
  CHECK_EQ(left.used_bytes, 0u);
  CHECK(pool.allocate(kLimit));
  ::close(ends[0]);
  ::close(ends[1]);
  ::munmap(board, sizeof(Board));
}

}  // namespace
