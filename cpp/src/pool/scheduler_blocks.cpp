#include "tailrace/pool/scheduler_blocks.hpp"

#include <new>

namespace tailrace::pool {

SchedulerBlocks::SchedulerBlocks() noexcept {
  try {
    pool_ = new MemoryPool{{.huge_pages = HugePages::kOff}};
  } catch (const std::bad_alloc&) {
    pool_ = nullptr;
  }
}

PoolStatistics SchedulerBlocks::statistics() const { return pool_ != nullptr ? pool_->statistics() : PoolStatistics{}; }

SchedulerBlocks& scheduler_blocks() {
  static SchedulerBlocks& blocks = *new SchedulerBlocks;
  return blocks;
}

}  // namespace tailrace::pool
