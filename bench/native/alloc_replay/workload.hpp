// A trace replayed as fast as it goes, by as many threads as it has; nanoseconds a call, and the peak of memory.
//
// Each thread makes its calls in their order; what another allocates it waits for, and nobody is further ahead than 64
// calls of the whole trace, so that about as much is live as was. Every page is written to. `--input FILE` replays another.
// Memory is what the process has at most above what it had before, by the bytes that are live at most in the trace.
#pragma once

#include <sys/resource.h>

#include "alloc/apart.hpp"
#include "alloc/resident.hpp"
#include "trace.hpp"

namespace bench::alloc_replay {

using namespace alloc;

inline constexpr int kRounds = 30;
inline constexpr int kWarmRounds = 3;
inline constexpr std::size_t kAhead = 64;

class Player {
 public:
  explicit Player(const Trace& trace)
      : trace_(trace), blocks_(trace.blocks()), at_(trace.by_thread().size()), line_(static_cast<int>(at_.size())) {}

  // What thread number `thread` does in one round.
  template <class Local>
  void play(Local& heap, std::size_t thread) {
    at_[thread].order.store(0);
    line_.cross();
    for (const Call& call : trace_.by_thread()[thread]) {
      at_[thread].order.store(call.order, std::memory_order_release);
      look_until([&] { return call.order <= least() + kAhead; });
      call.bytes != 0 ? allocate(heap, call) : free(heap, call.block);
    }
    at_[thread].order.store(trace_.calls(), std::memory_order_release);
    line_.cross();
    if (thread != 0) return;
    for (const std::size_t block : trace_.never_freed()) free(heap, block);
  }

 private:
  struct alignas(64) Place {
    std::atomic<std::size_t> order{0};
  };

  std::size_t least() const noexcept {
    std::size_t least = trace_.calls();
    for (const Place& place : at_) least = std::min(least, place.order.load(std::memory_order_acquire));
    return least;
  }

  template <class Local>
  void allocate(Local& heap, const Call& call) {
    void* const block = heap.allocate(call.bytes);
    touch(block, call.bytes);
    stamp(block, call.bytes, call.block);
    blocks_[call.block].store(block, std::memory_order_release);
  }

  template <class Local>
  void free(Local& heap, std::size_t which) {
    void* block = nullptr;
    look_until([&] { return (block = blocks_[which].exchange(nullptr, std::memory_order_acquire)) != nullptr; });
    const std::size_t bytes = trace_.bytes_of(which);
    unsigned char mine[sizeof(which)];
    std::memcpy(mine, &which, sizeof(which));
    require(std::memcmp(block, mine, std::min(bytes, sizeof(which))) == 0, "a live block was written to by another");
    heap.deallocate(block, bytes);
  }

  static void stamp(void* block, std::size_t bytes, std::size_t which) {
    std::memcpy(block, &which, std::min(bytes, sizeof(which)));
  }

  const Trace& trace_;
  std::vector<std::atomic<void*>> blocks_;
  std::vector<Place> at_;
  Line line_;
};

template <class Engine>
void measure_once(const Trace& trace, const Options& options) {
  Engine engine;
  Player player{trace};
  const int rounds = kWarmRounds + bench::scaled(kRounds, options);
  const std::size_t before = resident_bytes();
  Samples samples{static_cast<std::size_t>(rounds)};
  const auto live = [&](std::size_t thread) {
    auto&& heap = engine.local();
    for (int round = 0; round < rounds; ++round) {
      const std::int64_t began = now_ns();
      player.play(heap, thread);
      const auto took = static_cast<double>(now_ns() - began);
      if (thread == 0 && round >= kWarmRounds) samples.add(took / static_cast<double>(trace.calls()));
    }
  };
  std::vector<std::thread> others;
  for (std::size_t thread = 1; thread < trace.by_thread().size(); ++thread) others.emplace_back(live, thread);
  live(0);
  for (std::thread& other : others) other.join();
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  print("alloc_replay.time", engine.name(), "ns", samples);
  Samples peak{1};
  peak.add((static_cast<double>(usage.ru_maxrss) * 1024 - static_cast<double>(before)) /
           static_cast<double>(trace.peak_bytes()));
  print("alloc_replay.peak", engine.name(), "x live", peak);
}

template <class Engine>
void measure(const Options& options) {
  const Trace trace{options.input.empty() ? std::string{TAILRACE_BENCH_HERE} + "/service.csv" : options.input};
  for (int pass = 0; pass < options.passes; ++pass) apart([&] { measure_once<Engine>(trace, options); });
}

}  // namespace bench::alloc_replay
