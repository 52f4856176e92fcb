// The tail: microseconds of the middle one of many calls, and of the slowest but few.
//
// hit: two threads replace one of eight live buffers of about 1 MiB and write to it; each call of allocate and of free is
// timed; p99.99. miss: the first 1000 buffers of 1 MiB of a process, none freed, so that each must come from the system;
// p99.9. The plain call times a call that does nothing: what the machine does to any code.
#pragma once

#include "alloc/apart.hpp"
#include "alloc/heap.hpp"

namespace bench::alloc_tail {

using namespace alloc;

inline constexpr int kHits = 50'000;
inline constexpr int kMisses = 1000;

inline void report(const char* kind, const char* name, Samples& samples, double tail) {
  const std::string work = std::string{"alloc_tail."} + kind;
  for (const double part : {0.5, tail}) {
    Samples at{1};
    at.add(samples.at(part) / 1e3);
    print((work + (part == 0.5 ? ".middle" : ".slowest")).c_str(), name, "us", at);
  }
}

template <class Engine>
void measure_hits(const Options& options) {
  Engine engine;
  constexpr std::size_t kLive = 8;
  const int count = bench::scaled(kHits, options);
  std::vector<Samples> by_thread(2, Samples{static_cast<std::size_t>(2 * count)});
  Line line{2};
  const auto live = [&](int thread) {
    auto&& heap = engine.local();
    Samples& samples = by_thread[static_cast<std::size_t>(thread)];
    Dice dice{thread};
    const auto timed = [&](auto&& call, bool counts) {
      const std::int64_t began = now_ns();
      call();
      if (counts) samples.add(static_cast<double>(now_ns() - began));
    };
    std::array<void*, kLive> blocks{};
    std::array<std::size_t, kLive> sizes{};
    line.cross();
    for (int i = -1000; i < count; ++i) {  // the first thousand warm the caches
      const std::size_t which = static_cast<std::size_t>(i + 1000) % kLive;
      void*& block = blocks[which];
      if (block != nullptr) timed([&] { heap.deallocate(block, sizes[which]); }, i >= 0);
      sizes[which] = about(kMiB, dice);
      timed([&] { escape(block = heap.allocate(sizes[which])); }, i >= 0);
      *static_cast<int*>(block) = i;
    }
    line.cross();
    for (std::size_t i = 0; i < kLive; ++i) heap.deallocate(blocks[i], sizes[i]);
  };
  std::thread other{[&] { pin_this_thread(1), live(1); }};
  pin_this_thread(0);
  live(0);
  other.join();
  by_thread[0].add_all(by_thread[1]);
  report("hit", engine.name(), by_thread[0], 0.9999);
}

template <class Engine>
void measure_misses() {
  Engine engine;
  pin_this_thread(0);
  auto&& heap = engine.local();
  Samples samples{kMisses};
  for (int i = 0; i < kMisses; ++i) {
    void* block = nullptr;
    const std::int64_t began = now_ns();
    escape(block = heap.allocate(kMiB));
    samples.add(static_cast<double>(now_ns() - began));
    *static_cast<int*>(block) = i;
  }
  report("miss", engine.name(), samples, 0.999);
}

template <class Engine>
void measure(const Options& options) {
  for (int pass = 0; pass < options.passes; ++pass) {
    apart([&] { measure_hits<Engine>(options); });
    apart([&] { measure_misses<Engine>(); });
  }
}

}  // namespace bench::alloc_tail
