// M4: buffers that are touched, a byte in each page of 4 KiB; microseconds to allocate one, to touch it and to free one.
//
// eight: as in alloc_buffer. The plain call touches eight buffers that are never freed, in turn: what touching costs where
// nothing is allocated. first: the first 64 buffers of a process, eight live. cold: the first 64 of 1 MiB, none freed.
#pragma once

#include "alloc/apart.hpp"
#include "alloc/heap.hpp"

namespace bench::alloc_touch {

using namespace alloc;

inline constexpr const char* kUnit = "us";
inline constexpr Size kSizes[] = {
    {"64k", 64 * kKiB}, {"256k", 256 * kKiB}, {"1m", kMiB}, {"4m", 4 * kMiB}, {"16m", 16 * kMiB}};
inline constexpr std::size_t kLive = 8;
inline constexpr std::size_t kFirst = 64;

inline void print_us(const char* kind, const char* size, int threads, const char* name, const Samples& in_ns) {
  Samples samples = in_ns.scaled(1e-3);
  print(row("alloc_touch", kind, size, threads).c_str(), name, kUnit, samples);
}

template <class Engine>
void measure_eight(const Options& options) {
  for (const int threads : {1, 2}) {
    for (const Size& size : kSizes) {
      if (threads == 2 && size.bytes < kMiB) continue;
      apart([&] {
        Engine engine;
        const Samples samples = together(engine, threads, options, [&](auto& heap, int thread) {
          return Window<std::remove_reference_t<decltype(heap)>, kLive>{heap, thread, size.bytes, true};
        });
        print_us("eight", size.name, threads, engine.name(), samples);
      });
    }
  }
}

// `before` is done to the engine first.
template <class Engine, class Before>
void measure_fill(const char* kind, Before&& before) {
  apart([&] {
    Engine engine;
    before(engine);
    auto&& heap = engine.local();
    std::array<void*, kFirst> blocks;
    const std::int64_t began = now_ns();
    for (void*& block : blocks) {
      block = heap.allocate(kMiB);
      escape(block);
      touch(block, kMiB);
    }
    Samples sample{1};
    sample.add(static_cast<double>(now_ns() - began) / kFirst);
    print_us(kind, "1m", 1, engine.name(), sample);
  });
}

template <class Engine>
void measure_first() {
  for (const Size& size : kSizes) {
    if (size.bytes < kMiB) continue;
    apart([&] {
      Engine engine;
      auto&& heap = engine.local();
      const std::int64_t began = now_ns();
      Window<std::remove_reference_t<decltype(heap)>, kLive> window{heap, 0, size.bytes, true};
      window(kFirst - kLive);
      Samples sample{1};
      sample.add(static_cast<double>(now_ns() - began) / kFirst);
      print_us("first", size.name, 1, engine.name(), sample);
    });
  }
}

template <class Engine>
void measure(const Options& options) {
  for (int pass = 0; pass < options.passes; ++pass) {
    measure_eight<Engine>(options);
    measure_first<Engine>();
    measure_fill<Engine>("cold", [](Engine&) {});
  }
}

}  // namespace bench::alloc_touch
