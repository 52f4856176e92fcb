// M2: blocks that one thread allocates and another frees; nanoseconds a block.
//
// pc: one thread allocates, a second frees, a ring of 1024 between them; the plain call is the ring alone. xslots: two
// threads put blocks into random ones of 1000 shared slots and free what they find there, about half of it the other's.
#pragma once

#include "alloc/heap.hpp"

namespace bench::alloc_cross {

using namespace alloc;

inline constexpr const char* kUnit = "ns";
inline constexpr Size kSizes[] = {{"64", 64}, {"1k", kKiB}, {"16k", 16 * kKiB}};
inline constexpr Size kSlotSizes[] = {{"64", 64}, {"1k", kKiB}};

template <class Engine>
void measure_hand_over(Engine& engine, const Options& options) {
  for (const Size& size : kSizes) {
    HandOver<1024> hand_over;
    Samples samples = together(engine, 2, options, [&](auto& heap, int thread) {
      return [&, thread](int times) { hand_over.run(heap, thread, size.bytes, times); };
    });
    hand_over.check();
    print(row("alloc_cross", "pc", size.name, 2).c_str(), engine.name(), kUnit, samples);
  }
}

class Shared {
 public:
  explicit Shared(std::size_t count) : slots_(count) {}
  void* swap(std::size_t which, void* block) noexcept { return slots_[which].exchange(block); }
  std::size_t size() const noexcept { return slots_.size(); }

 private:
  std::vector<std::atomic<void*>> slots_;
};

template <class Engine>
void measure_slots(Engine& engine, const Options& options) {
  for (const Size& size : kSlotSizes) {
    Shared shared{1000};
    Samples samples = together(engine, 2, options, [&](auto& heap, int thread) {
      return [&heap, &shared, dice = Dice{thread}, bytes = size.bytes](int times) mutable {
        for (int i = 0; i < times; ++i) {
          void* const block = heap.allocate(bytes);
          escape(block);
          if (void* const before = shared.swap(dice.below(shared.size()), block)) heap.deallocate(before, bytes);
        }
      };
    });
    auto&& heap = engine.local();
    std::size_t live = 0;
    for (std::size_t i = 0; i < shared.size(); ++i) {
      if (void* const block = shared.swap(i, nullptr)) heap.deallocate(block, size.bytes), ++live;
    }
    require(live == shared.size(), "a slot was never filled");
    print(row("alloc_cross", "xslots", size.name, 2).c_str(), engine.name(), kUnit, samples);
  }
}

template <class Engine>
void measure(Engine& engine, const Options& options) {
  for (int pass = 0; pass < options.passes; ++pass) {
    measure_hand_over(engine, options);
    measure_slots(engine, options);
  }
}

}  // namespace bench::alloc_cross
