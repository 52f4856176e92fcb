// GIL       Not needed, but for the list of tags.
// Lifetime  A tag lives as long as the pool's state: blocks point to it.
#include "pool_state.hpp"

#include <algorithm>
#include <bit>
#include <utility>

#include "free_signal.hpp"

namespace tailrace::bindings {

namespace {

// relaxed: a peak is a count; who raises it last, raises it highest.
template <class T>
void raise_to(base::atomic<T>& peak, T value) noexcept {
  T seen = peak.load(base::relaxed);
  while (seen < value && !peak.compare_exchange_weak(seen, value, base::relaxed, base::relaxed)) {
  }
}

}  // namespace

bool Tag::add(std::size_t bytes) noexcept {
  const std::size_t used = used_bytes.fetch_add(bytes, base::relaxed) + bytes;
  if (used > limit_bytes.load(base::relaxed)) {
    used_bytes.fetch_sub(bytes, base::relaxed);
    n_refused.fetch_add(1, base::relaxed);
    return false;
  }
  n_alloc.fetch_add(1, base::relaxed);
  raise_to(peak_used_bytes, used);
  return true;
}

void Tag::subtract(std::size_t bytes) noexcept {
  used_bytes.fetch_sub(bytes, base::relaxed);
  n_free.fetch_add(1, base::relaxed);
}

void Meter::allocated(std::size_t bytes) noexcept {
  n_alloc_.fetch_add(1, base::relaxed);
  allocated_bytes_.fetch_add(bytes, base::relaxed);
  const auto more = static_cast<std::int64_t>(bytes);
  const std::int64_t live = live_bytes_.fetch_add(more, base::relaxed) + more;
  for (std::uint32_t open = open_.load(base::relaxed) & ~kTraced; open != 0; open &= open - 1) {
    raise_to(peaks_[static_cast<std::size_t>(std::countr_zero(open))], live);
  }
}

void Meter::freed(std::size_t bytes) noexcept {
  n_free_.fetch_add(1, base::relaxed);
  live_bytes_.fetch_sub(static_cast<std::int64_t>(bytes), base::relaxed);
}

Meter::Reading Meter::read() const noexcept {
  return {.n_alloc = n_alloc_.load(base::relaxed),
          .n_free = n_free_.load(base::relaxed),
          .allocated_bytes = allocated_bytes_.load(base::relaxed),
          .live_bytes = live_bytes_.load(base::relaxed)};
}

int Meter::open() noexcept {
  const std::uint32_t open = open_.load(base::relaxed);
  const int scope = std::countr_one(open);
  if (scope >= static_cast<int>(kMaxScopes)) return -1;
  peaks_[static_cast<std::size_t>(scope)].store(live_bytes_.load(base::relaxed), base::relaxed);
  open_.fetch_or(std::uint32_t{1} << scope, base::relaxed);
  return scope;
}

void Meter::set_traced(bool on) noexcept {
  if (on) {
    open_.fetch_or(kTraced, base::relaxed);
  } else {
    open_.fetch_and(~kTraced, base::relaxed);
  }
}

void Meter::close(int scope) noexcept { open_.fetch_and(~(std::uint32_t{1} << scope), base::relaxed); }

std::int64_t Meter::peak(int scope) const noexcept {
  return peaks_[static_cast<std::size_t>(scope)].load(base::relaxed);
}

void* PoolState::take_counted(std::size_t bytes, Tag* tag) noexcept {
  void* const block = pool.try_allocate(bytes);
  if (block == nullptr) return nullptr;
  const std::size_t held = pool.usable_bytes(block);
  if (tag != nullptr && !tag->add(held)) return pool.deallocate(block), nullptr;
  if (meter.is_on()) {
    meter.allocated(held);
    trace_alloc(block, bytes, tag);
  }
  return block;
}

// Before the block goes back: who is told of it finds the tag's share free.
void PoolState::count_free(const void* block, Tag* tag) noexcept {
  const std::size_t held = pool.usable_bytes(block);
  if (tag != nullptr) tag->subtract(held);
  if (meter.is_on()) {
    meter.freed(held);
    trace_free(block, tag);
  }
}

bool PoolState::start_trace(const std::string& path) {
  const std::lock_guard lock{trace_guard_};
  if (trace_ != nullptr) return false;
  trace_ = std::make_unique<Trace>(path);
  meter.set_traced(true);
  return true;
}

bool PoolState::stop_trace() noexcept {
  const std::lock_guard lock{trace_guard_};
  meter.set_traced(false);
  return std::exchange(trace_, nullptr) != nullptr;
}

// A call that there is no memory to remember is missing from the trace.
void PoolState::trace_alloc(const void* block, std::size_t bytes, const Tag* tag) noexcept {
  const std::lock_guard lock{trace_guard_};
  if (trace_ == nullptr) return;
  try {
    trace_->live[block] = bytes;
    trace_->file.write("alloc", block, bytes, tag != nullptr ? tag->name : std::string{});
  } catch (const std::bad_alloc&) {
  }
}

void PoolState::trace_free(const void* block, const Tag* tag) noexcept {
  const std::lock_guard lock{trace_guard_};
  if (trace_ == nullptr) return;
  const auto known = trace_->live.find(block);
  if (known == trace_->live.end()) return;
  try {
    trace_->file.write("free", block, known->second, tag != nullptr ? tag->name : std::string{});
  } catch (const std::bad_alloc&) {
  }
  trace_->live.erase(known);
}

void PoolState::close() noexcept {
  pool.close();
  const std::lock_guard lock{guard_};
  for (FreeSignal* const signal : signals_) signal->wake();
}

void PoolState::add(FreeSignal* signal) {
  const std::lock_guard lock{guard_};
  signals_.push_back(signal);
}

void PoolState::remove(FreeSignal* signal) noexcept {
  const std::lock_guard lock{guard_};
  std::erase(signals_, signal);
}

}  // namespace tailrace::bindings
