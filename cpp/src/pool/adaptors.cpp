#include "tailrace/pool/adaptors.hpp"

#include <algorithm>
#include <stdexcept>
#include <utility>

namespace tailrace::pool {

Adaptor::Adaptor(std::pmr::memory_resource* upstream) : upstream_{upstream} {
  if (upstream == nullptr) throw std::invalid_argument{"tailrace: an adaptor stands in front of a memory resource"};
}

// ---- tag ----

TagResource::TagResource(std::pmr::memory_resource* upstream, std::string name, std::size_t limit_bytes)
    : Adaptor{upstream}, name_{std::move(name)}, limit_bytes_{limit_bytes} {}

void* TagResource::do_allocate(std::size_t bytes, std::size_t alignment) {
  std::size_t used = used_bytes_.load(base::relaxed);
  do {
    if (bytes > limit_bytes_ || used > limit_bytes_ - bytes) {
      n_refused_.fetch_add(1, base::relaxed);
      throw PoolExhausted{{.bytes = bytes,
                           .limit_bytes = limit_bytes_,
                           .used_bytes = used,
                           .cached_bytes = 0,
                           .largest_free_bytes = limit_bytes_ - std::min(used, limit_bytes_),
                           .closed = false}};
    }
  } while (!used_bytes_.compare_exchange_weak(used, used + bytes, base::relaxed, base::relaxed));
  void* block = nullptr;
  try {
    block = Adaptor::do_allocate(bytes, alignment);
  } catch (...) {
    used_bytes_.fetch_sub(bytes, base::relaxed);
    throw;
  }
  n_alloc_.fetch_add(1, base::relaxed);
  std::size_t peak = peak_used_bytes_.load(base::relaxed);
  while (peak < used + bytes &&
         !peak_used_bytes_.compare_exchange_weak(peak, used + bytes, base::relaxed, base::relaxed)) {
  }
  return block;
}

void TagResource::do_deallocate(void* block, std::size_t bytes, std::size_t alignment) {
  Adaptor::do_deallocate(block, bytes, alignment);
  used_bytes_.fetch_sub(bytes, base::relaxed);
  n_free_.fetch_add(1, base::relaxed);
}

Usage TagResource::usage() const noexcept {
  return {.used_bytes = used_bytes_.load(base::relaxed),
          .peak_used_bytes = peak_used_bytes_.load(base::relaxed),
          .n_alloc = n_alloc_.load(base::relaxed),
          .n_free = n_free_.load(base::relaxed),
          .n_refused = n_refused_.load(base::relaxed)};
}

// ---- statistics ----

StatisticsResource::Scope::Scope(StatisticsResource& resource) : resource_{resource} {
  const std::lock_guard<std::mutex> hold{resource.mutex_};
  resource.scopes_.push_back(this);
}

StatisticsResource::Scope::~Scope() {
  const std::lock_guard<std::mutex> hold{resource_.mutex_};
  std::erase(resource_.scopes_, this);
}

Usage StatisticsResource::Scope::usage() const {
  const std::lock_guard<std::mutex> hold{resource_.mutex_};
  return {.used_bytes = static_cast<std::size_t>(std::max<std::int64_t>(used_bytes_, 0)),
          .peak_used_bytes = static_cast<std::size_t>(peak_bytes_),
          .n_alloc = n_alloc_,
          .n_free = n_free_};
}

Usage StatisticsResource::usage() const {
  const std::lock_guard<std::mutex> hold{mutex_};
  return all_;
}

void* StatisticsResource::do_allocate(std::size_t bytes, std::size_t alignment) {
  void* block = Adaptor::do_allocate(bytes, alignment);
  const std::lock_guard<std::mutex> hold{mutex_};
  ++all_.n_alloc;
  all_.used_bytes += bytes;
  all_.peak_used_bytes = std::max(all_.peak_used_bytes, all_.used_bytes);
  for (Scope* scope : scopes_) {
    ++scope->n_alloc_;
    scope->used_bytes_ += static_cast<std::int64_t>(bytes);
    scope->peak_bytes_ = std::max(scope->peak_bytes_, scope->used_bytes_);
  }
  return block;
}

void StatisticsResource::do_deallocate(void* block, std::size_t bytes, std::size_t alignment) {
  Adaptor::do_deallocate(block, bytes, alignment);
  const std::lock_guard<std::mutex> hold{mutex_};
  ++all_.n_free;
  all_.used_bytes -= bytes;
  for (Scope* scope : scopes_) {
    ++scope->n_free_;
    scope->used_bytes_ -= static_cast<std::int64_t>(bytes);
  }
}

// ---- trace ----

TraceResource::TraceResource(std::pmr::memory_resource* upstream, const std::string& path, std::string tag)
    : Adaptor{upstream}, tag_{std::move(tag)}, file_{path} {}

void* TraceResource::do_allocate(std::size_t bytes, std::size_t alignment) {
  void* block = Adaptor::do_allocate(bytes, alignment);
  write("alloc", block, bytes);
  return block;
}

// Written down first: the address may be another block's as soon as it is free.
void TraceResource::do_deallocate(void* block, std::size_t bytes, std::size_t alignment) {
  write("free", block, bytes);
  Adaptor::do_deallocate(block, bytes, alignment);
}

void TraceResource::write(const char* op, const void* block, std::size_t bytes) {
  const std::lock_guard<std::mutex> hold{mutex_};
  file_.write(op, block, bytes, tag_);
}

// ---- retry ----

RetryResource::RetryResource(std::pmr::memory_resource* upstream, OnFailure on_failure)
    : Adaptor{upstream}, on_failure_{std::move(on_failure)} {
  if (!on_failure_) throw std::invalid_argument{"tailrace: a RetryResource needs somebody to ask"};
}

void* RetryResource::do_allocate(std::size_t bytes, std::size_t alignment) {
  for (;;) {
    try {
      return Adaptor::do_allocate(bytes, alignment);
    } catch (const std::bad_alloc&) {
      if (!on_failure_(bytes, alignment)) throw;
    }
  }
}

}  // namespace tailrace::pool
