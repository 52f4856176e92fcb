// M7: memory of the process in a long mixed run, and after it has ended, while nobody calls the allocator.
//
// Of the blocks 90 % have 16 B to 1 KiB, 9 % up to 64 KiB, 1 % up to 4 MiB, evenly by powers of two; in the second half all
// are a third larger, so that what was freed does not fit as it is. A random block is freed whenever more than 420 MiB are
// live. Every page is written to. Then 90 % are freed, five seconds pass; the rest is freed, five seconds pass.
// Memory is what the process has above what it had before the first block.
#pragma once

#include <sys/mman.h>

#include "alloc/apart.hpp"
#include "alloc/resident.hpp"

namespace bench::alloc_rss {

using namespace alloc;

inline constexpr int kOperations = 6'000'000;
inline constexpr double kLiveMiB = 420;
inline constexpr int kQuietMs = 5'000;

struct Block {
  void* at;
  std::size_t bytes;
};

// The bench's own list: from the system, so that it is in nobody's heap.
class Blocks {
 public:
  Blocks()
      : all_(static_cast<Block*>(::mmap(nullptr, kMost * sizeof(Block), PROT_READ | PROT_WRITE,
                                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0))) {
    require(all_ != MAP_FAILED, "the system gave no memory");
  }
  Blocks(const Blocks&) = delete;
  ~Blocks() { ::munmap(all_, kMost * sizeof(Block)); }

  void add(Block block) {
    require(count_ < kMost, "more blocks live than were foreseen");
    all_[count_++] = block;
    bytes_ += block.bytes;
  }
  Block take(std::size_t which) {
    const Block block = all_[which];
    all_[which] = all_[--count_];
    bytes_ -= block.bytes;
    return block;
  }
  std::size_t count() const noexcept { return count_; }
  std::size_t bytes() const noexcept { return bytes_; }

 private:
  static constexpr std::size_t kMost = 400'000;
  Block* all_;
  std::size_t count_ = 0;
  std::size_t bytes_ = 0;
};

inline std::size_t mixed(Dice& dice, bool late) {
  const double kind = dice.part();
  const double least = kind < 0.9 ? 16 : kind < 0.99 ? 1024 : 65536;
  const double most = kind < 0.9 ? 1024 : kind < 0.99 ? 65536 : 4.0 * kMiB;
  const double bytes = least * std::pow(most / least, dice.part());
  return static_cast<std::size_t>(late ? bytes * 4 / 3 : bytes);
}

template <class Local>
void free_one(Local& heap, Blocks& blocks, Dice& dice) {
  const Block block = blocks.take(dice.below(blocks.count()));
  require(*static_cast<std::uint32_t*>(block.at) == static_cast<std::uint32_t>(block.bytes),
          "a live block was written to by another");
  heap.deallocate(block.at, block.bytes);
}

template <class Local>
void run_mix(Local& heap, Blocks& blocks, Dice& dice, int operations, std::size_t live) {
  for (int i = 0; i < operations; ++i) {
    const std::size_t bytes = mixed(dice, i > operations / 2);
    void* const at = heap.allocate(bytes);
    touch(at, bytes);
    *static_cast<std::uint32_t*>(at) = static_cast<std::uint32_t>(bytes);
    blocks.add({at, bytes});
    while (blocks.bytes() > live) free_one(heap, blocks, dice);
  }
}

class Run {
 public:
  Run(int threads, const Options& options)
      : lists_(static_cast<std::size_t>(threads)),
        live_(static_cast<std::size_t>(kLiveMiB * kMiB * std::min(options.scale, 1.0)) / lists_.size()),
        operations_(bench::scaled(kOperations, options) / threads),
        quiet_(bench::scaled(kQuietMs, options)) {}

  template <class Engine>
  void measure(Engine& engine) {
    const std::size_t base = resident_bytes();
    const auto above = [base](std::size_t bytes) { return static_cast<double>(bytes) - static_cast<double>(base); };
    Watch watch;
    const std::int64_t began = now_ns();
    by_all(engine, [this](auto& heap, Blocks& blocks, Dice& dice) { run_mix(heap, blocks, dice, operations_, live_); });
    const double each_ns = static_cast<double>(now_ns() - began) / operations_;
    const double peak = above(watch.peak()), at_end = above(resident_bytes()), live = live_bytes();
    free_down_to(0.1, engine);
    const double most_freed = above(resident_bytes()) / live_bytes();
    free_down_to(0, engine);
    const double all_freed = above(resident_bytes());
    print_one("peak", engine, "x live", peak / live);
    print_one("end", engine, "x live", at_end / live);
    print_one("most_freed", engine, "x live", most_freed);
    print_one("all_freed", engine, "MiB", std::max(all_freed, 0.0) / double{kMiB});
    print_one("time", engine, "ns", each_ns);
    watch.print_curve(work("rss").c_str(), engine.name(), base);
  }

 private:
  template <class Engine, class Part>
  void by_all(Engine& engine, Part&& part) {
    const auto run = [&](int thread) {
      auto&& heap = engine.local();
      Dice dice{thread};
      part(heap, lists_[static_cast<std::size_t>(thread)], dice);
    };
    std::vector<std::thread> others;
    for (int thread = 1; thread < static_cast<int>(lists_.size()); ++thread) others.emplace_back(run, thread);
    run(0);
    for (std::thread& other : others) other.join();
  }

  template <class Engine>
  void free_down_to(double part, Engine& engine) {
    by_all(engine, [part](auto& heap, Blocks& blocks, Dice& dice) {
      const auto left = static_cast<std::size_t>(part * static_cast<double>(blocks.count()));
      while (blocks.count() > left) free_one(heap, blocks, dice);
    });
    pause_for(std::chrono::milliseconds{quiet_});
  }

  double live_bytes() const {
    std::size_t sum = 0;
    for (const Blocks& blocks : lists_) sum += blocks.bytes();
    return static_cast<double>(sum);
  }

  std::string work(const char* what) const {
    return std::string{"alloc_rss."} + what + ".t" + std::to_string(lists_.size());
  }

  template <class Engine>
  void print_one(const char* what, Engine& engine, const char* unit, double value) {
    Samples sample{1};
    sample.add(value);
    print(work(what).c_str(), engine.name(), unit, sample);
  }

  std::vector<Blocks> lists_;
  const std::size_t live_;
  const int operations_, quiet_;
};

template <class Engine>
void measure(const Options& options) {
  for (int pass = 0; pass < options.passes; ++pass) {
    for (const int threads : {1, 2}) {
      apart([&] {
        Engine engine;
        Run{threads, options}.measure(engine);
      });
    }
  }
}

}  // namespace bench::alloc_rss
