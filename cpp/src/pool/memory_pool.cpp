#include "tailrace/pool/memory_pool.hpp"

#include <algorithm>
#include <limits>
#include <stdexcept>
#include <utility>

#include "tailrace/base/check.hpp"
#include "tailrace/pool/core.hpp"
#include "tailrace/pool/purge.hpp"

namespace tailrace::pool {

namespace {

void check_options(const PoolOptions& options) {
  if (options.limit_bytes < kMinLimitBytes || options.limit_bytes > kMaxLimitBytes) {
    throw std::invalid_argument{"tailrace: a pool's limit is " + std::to_string(kMinLimitBytes) + " to " +
                                std::to_string(kMaxLimitBytes) + " bytes, not " + std::to_string(options.limit_bytes)};
  }
  if (options.clock == nullptr) throw std::invalid_argument{"tailrace: a pool needs a clock; leave `clock` as it is"};
  if (options.min_retained_bytes > options.limit_bytes) {
    throw std::invalid_argument{"tailrace: min_retained_bytes is at most limit_bytes"};
  }
}

std::string described(const Shortage& shortage) {
  if (shortage.closed) return "tailrace: the memory pool was closed; allocate before close(), or make another pool";
  return "tailrace: the memory pool has no " + std::to_string(shortage.bytes) + " bytes: limit " +
         std::to_string(shortage.limit_bytes) + ", used " + std::to_string(shortage.used_bytes) + ", cached " +
         std::to_string(shortage.cached_bytes) + ", largest free piece " + std::to_string(shortage.largest_free_bytes);
}

struct Waiter final : FreeListener {
  void on_free() noexcept override {
    word.fetch_add(1, base::release);  // [PF1] release: after what is told: a close; pairs with [PF2]
    base::StdAtomics::unpark(word, 1);
  }
  base::atomic<std::uint32_t> word{0};
};

}  // namespace

PoolExhausted::PoolExhausted(const Shortage& shortage)
    : shortage_{shortage}, text_{std::make_shared<const std::string>(described(shortage))} {}

// Not make_shared: a thread that has used the pool keeps a weak reference, which should not keep the pool's memory.
MemoryPool::MemoryPool(const PoolOptions& options) {
  check_options(options);
  core_ = std::shared_ptr<Core>{new Core{options}};
  register_core(core_);
}

void MemoryPool::refuse(std::size_t bytes, std::size_t alignment) const {
  if (is_alignment(alignment)) throw PoolExhausted{core_->shortage(bytes)};
  throw std::invalid_argument{"tailrace: an alignment is a power of two up to " + std::to_string(kMaxAlignment) +
                              ", not " + std::to_string(alignment)};
}

void* MemoryPool::allocate_within(std::size_t bytes, std::int64_t timeout_ns, std::size_t alignment) {
  void* block = try_allocate(bytes, alignment);
  if (block != nullptr || bytes > options().limit_bytes) return block;
  const std::int64_t now_ns = base::monotonic_ns();
  const std::int64_t deadline_ns = now_ns + std::min(timeout_ns, std::numeric_limits<std::int64_t>::max() - now_ns);
  Waiter waiter;
  core_->listen(waiter);
  for (;;) {
    const std::uint32_t seen = waiter.word.load(base::acquire);  // [PF2] acquire: pairs with [PF1]
    block = try_allocate(bytes, alignment);
    const std::int64_t left_ns = deadline_ns - base::monotonic_ns();
    if (block != nullptr || left_ns <= 0 || closed()) break;
    base::StdAtomics::park(waiter.word, seen, left_ns);
  }
  core_->unlisten(waiter);
  return block;
}

std::size_t MemoryPool::usable_bytes(const void* block) const noexcept { return core_->usable_bytes(block); }
bool MemoryPool::owns(const void* pointer) const noexcept { return core_->range().contains(pointer); }
Shortage MemoryPool::shortage(std::size_t bytes) const noexcept { return core_->shortage(bytes); }
void MemoryPool::listen(FreeListener& listener) { core_->listen(listener); }
void MemoryPool::unlisten(FreeListener& listener) noexcept { core_->unlisten(listener); }
void MemoryPool::close() noexcept { core_->close(); }
std::size_t MemoryPool::check() noexcept { return core_->check(); }
bool MemoryPool::closed() const noexcept { return core_->closed(); }
std::size_t MemoryPool::reserve(std::size_t bytes, bool prefault) { return core_->reserve(bytes, prefault); }
std::size_t MemoryPool::trim(std::size_t keep_bytes) noexcept { return core_->trim(keep_bytes); }
std::size_t MemoryPool::purge() noexcept { return core_->purge(); }
void MemoryPool::flush_thread() noexcept { core_->flush_thread(); }
PoolStatistics MemoryPool::statistics() const { return core_->statistics(); }
const PoolOptions& MemoryPool::options() const noexcept { return core_->options(); }
std::pmr::memory_resource* MemoryPool::resource() const noexcept { return &core_->resource(); }
base::BlockSource& MemoryPool::blocks() const noexcept { return core_->blocks(); }

void* Core::Resource::do_allocate(std::size_t bytes, std::size_t alignment) {
  void* block = is_alignment(alignment) ? core.try_allocate(bytes, std::max(alignment, kMinAlignment)) : nullptr;
  if (block == nullptr) throw PoolExhausted{core.shortage(bytes)};
  return block;
}

}  // namespace tailrace::pool
