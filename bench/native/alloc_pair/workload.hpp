// M1: small blocks, each thread its own; nanoseconds to allocate one and to free one.
//
// pair: the block that was just allocated is freed. slots: a random one of 1000 live blocks is freed, another allocated in
// its place. mix: the same with 10,000 live blocks of 16 B to 4 KiB, as many small ones as large ones by powers of two.
// Every block is written to; in slots and mix what was written must still stand there when the block is freed.
#pragma once

#include <cmath>

#include "alloc/heap.hpp"

namespace bench::alloc_pair {

using namespace alloc;

inline constexpr const char* kUnit = "ns";
inline constexpr Size kPairs[] = {{"16", 16}, {"64", 64}, {"256", 256}, {"1k", kKiB}};
inline constexpr Size kSlots[] = {{"64", 64}, {"1k", kKiB}, {"4k", 4 * kKiB}};

template <class Local>
auto pair(Local& heap, std::size_t bytes) {
  return [&heap, bytes](int times) {
    for (int i = 0; i < times; ++i) {
      void* const block = heap.allocate(bytes);
      *static_cast<int*>(block) = i;
      escape(block);
      heap.deallocate(block, bytes);
    }
  };
}

template <class Local>
class Slots {
 public:
  Slots(Local& heap, int seed, std::size_t live, std::size_t least, std::size_t most) : heap_(heap), dice_(seed) {
    for (std::size_t& bytes : sizes_) {
      bytes =
          static_cast<std::size_t>(std::exp2(std::log2(least) + dice_.part() * (std::log2(most) - std::log2(least))));
    }
    for (std::size_t i = 0; i < live; ++i) slots_.push_back(filled(i));
  }
  Slots(const Slots&) = delete;
  ~Slots() {
    for (const Slot& slot : slots_) heap_.deallocate(slot.block, slot.bytes);
  }

  void operator()(int times) {
    for (int i = 0; i < times; ++i) {
      const std::size_t which = dice_.below(slots_.size());
      Slot& slot = slots_[which];
      wrong_ |= *static_cast<std::uint32_t*>(slot.block) != which;
      heap_.deallocate(slot.block, slot.bytes);
      slot = filled(which);
    }
    require(!wrong_, "a live block was written to by another");
  }

 private:
  struct Slot {
    void* block;
    std::size_t bytes;
  };

  Slot filled(std::size_t which) {
    const std::size_t bytes = sizes_[next_++ % sizes_.size()];
    void* const block = heap_.allocate(bytes);
    *static_cast<std::uint32_t*>(block) = static_cast<std::uint32_t>(which);
    escape(block);
    return {block, bytes};
  }

  Local& heap_;
  Dice dice_;
  std::array<std::size_t, 4096> sizes_;
  std::size_t next_ = 0;
  std::vector<Slot> slots_;
  bool wrong_ = false;
};

template <class Engine>
void measure_pairs(const char* kind, const char* name, Engine& engine, const Options& options) {
  for (const int threads : {1, 2}) {
    for (const Size& size : kPairs) {
      Samples samples = together(engine, threads, options, [&](auto& heap, int) { return pair(heap, size.bytes); });
      print(row("alloc_pair", kind, size.name, threads).c_str(), name, kUnit, samples);
    }
  }
}

template <class Engine>
void measure(Engine& engine, const Options& options) {
  for (int pass = 0; pass < options.passes; ++pass) {
    measure_pairs("pair", engine.name(), engine, options);
    for (const int threads : {1, 2}) {
      const auto slots = [&](const char* kind, const char* name, std::size_t live, std::size_t least,
                             std::size_t most) {
        Samples samples = together(engine, threads, options, [&](auto& heap, int thread) {
          return Slots<std::remove_reference_t<decltype(heap)>>{heap, thread, live, least, most};
        });
        print(row("alloc_pair", kind, name, threads).c_str(), engine.name(), kUnit, samples);
      };
      for (const Size& size : kSlots) slots("slots", size.name, 1000, size.bytes, size.bytes);
      slots("mix", "4k", 10'000, 16, 4 * kKiB);
    }
  }
}

}  // namespace bench::alloc_pair
