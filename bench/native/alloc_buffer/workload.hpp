// M3: buffers that nobody touches, so that the figure is the allocator's alone; nanoseconds to allocate and to free one.
//
// one: the buffer that was just allocated is freed. eight: eight are live; another comes, which differs by up to an
// eighth, and the oldest goes. remote: one thread allocates, another frees, 32 at most between them; the plain call is the ring alone.
#pragma once

#include "alloc/apart.hpp"
#include "alloc/heap.hpp"

namespace bench::alloc_buffer {

using namespace alloc;

inline constexpr const char* kUnit = "ns";
inline constexpr Size kSizes[] = {
    {"64k", 64 * kKiB}, {"256k", 256 * kKiB}, {"1m", kMiB}, {"4m", 4 * kMiB}, {"16m", 16 * kMiB}};
inline constexpr Size kRemote[] = {{"1m", kMiB}, {"16m", 16 * kMiB}};
inline constexpr std::size_t kLive = 8;

template <class Local>
auto one(Local& heap, std::size_t bytes) {
  return [&heap, bytes](int times) {
    for (int i = 0; i < times; ++i) {
      void* const block = heap.allocate(bytes);
      escape(block);
      heap.deallocate(block, bytes);
    }
  };
}

template <class Engine>
void measure_remote(const Options& options) {
  for (const Size& size : kRemote) {
    apart([&] {
      Engine engine;
      HandOver<32> hand_over;
      Samples samples = together(engine, 2, options, [&](auto& heap, int thread) {
        return [&, thread](int times) { hand_over.run(heap, thread, size.bytes, times); };
      });
      hand_over.check();
      print(row("alloc_buffer", "remote", size.name, 2).c_str(), engine.name(), kUnit, samples);
    });
  }
}

template <class Engine>
void measure_own(const Size& size, int threads, const Options& options) {
  apart([&] {
    Engine engine;
    Samples samples = together(engine, threads, options, [&](auto& heap, int) { return one(heap, size.bytes); });
    print(row("alloc_buffer", "one", size.name, threads).c_str(), engine.name(), kUnit, samples);
  });
  apart([&] {
    Engine engine;
    Samples samples = together(engine, threads, options, [&](auto& heap, int thread) {
      return Window<std::remove_reference_t<decltype(heap)>, kLive>{heap, thread, size.bytes, false};
    });
    print(row("alloc_buffer", "eight", size.name, threads).c_str(), engine.name(), kUnit, samples);
  });
}

template <class Engine>
void measure(const Options& options) {
  for (int pass = 0; pass < options.passes; ++pass) {
    for (const int threads : {1, 2}) {
      for (const Size& size : kSizes) measure_own<Engine>(size, threads, options);
    }
    measure_remote<Engine>(options);
  }
}

}  // namespace bench::alloc_buffer
