// counted.hpp -- what tests of native runs share: blocks that are counted, and every way of sharing a run.
#pragma once

#include <atomic>

#include "../harness.hpp"
#include "tailrace/flow/runner.hpp"

namespace tailrace::test {

// Counts blocks: what was taken is given back.
struct Counted final : base::BlockSource {
  void* take(std::size_t bytes) override {
    ++live;
    return base::HeapBlocks::instance().take(bytes);
  }
  void give(void* block, std::size_t bytes) noexcept override {
    --live;
    base::HeapBlocks::instance().give(block, bytes);
  }
  ~Counted() override { CHECK_EQ(live.load(), 0); }
  std::atomic<int> live{0};
};

// Every way in which threads may share a run.
inline const flow::RunnerOptions kEvery[] = {
    {}, {.invite_workers = false}, {.help = flow::Help::kWhenAsked}, {.help = flow::Help::kAtOnce}};

inline flow::RunnerOptions counted(flow::RunnerOptions options, base::BlockSource& blocks) {
  options.source = &blocks;
  return options;
}

}  // namespace tailrace::test
