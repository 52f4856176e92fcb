#include "tailrace/pool/shared_pool.hpp"

#include "tailrace/pool/shared_core.hpp"

namespace tailrace::pool {

SharedBlock& SharedBlock::operator=(SharedBlock&& other) noexcept {
  reset();
  core_ = std::move(other.core_);
  data_ = std::exchange(other.data_, nullptr);
  bytes_ = std::exchange(other.bytes_, 0);
  head_ = other.head_;
  writable_ = other.writable_;
  return *this;
}

void SharedBlock::reset() noexcept {
  if (const std::shared_ptr<SharedCore> core = std::move(core_)) core->drop(head_);
  data_ = nullptr;
  bytes_ = 0;
}

SharedPool::SharedPool(std::size_t limit_bytes) : core_{SharedCore::create(limit_bytes)} {}

SharedPool SharedPool::attach(int descriptor, bool writable) {
  return SharedPool{SharedCore::attach(descriptor, writable)};
}

SharedBlock SharedPool::allocate(std::size_t bytes) { return core_->allocate(bytes); }

SharedHandle SharedPool::share(const SharedBlock& block, bool until_opened) {
  if (block.core_ != core_) throw SharedPoolError{SharedFault::kForeign};
  return core_->share(block.head_, block.bytes_, until_opened);
}

SharedBlock SharedPool::open(const SharedHandle& handle, bool writable) { return core_->open(handle, writable); }
std::size_t SharedPool::reap() { return core_->reap(); }
std::size_t SharedPool::trim() { return core_->trim(); }
void SharedPool::close() noexcept { core_->close(); }
bool SharedPool::closed() const noexcept { return core_->closed(); }
bool SharedPool::writable() const noexcept { return core_->segment().writable(); }
int SharedPool::descriptor() const noexcept { return core_->segment().descriptor(); }
std::uint64_t SharedPool::id() const noexcept { return core_->segment().id(); }
SharedStatistics SharedPool::statistics() const { return core_->statistics(); }

}  // namespace tailrace::pool
