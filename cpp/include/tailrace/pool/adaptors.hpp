// adaptors.hpp -- what may stand between a container and the memory that it uses, put together at run time.
//
// What      `LimitResource`, `StatisticsResource` with scopes that nest, `TagResource`, `TraceResource` and `RetryResource`: each
//           a std::pmr::memory_resource in front of another, a pool's or any.
// Why       Who wants to know what one part of a program allocates should not have to change the pool, nor pay for it elsewhere.
// Threads   All members: any thread. An adaptor outlives what was allocated by it, and is outlived by what it stands in front of.
// Checked   tests/cpp/pool/test_adaptors.cpp.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory_resource>
#include <mutex>
#include <string>
#include <vector>

#include "tailrace/base/atomic.hpp"
#include "tailrace/pool/options.hpp"
#include "tailrace/pool/trace_file.hpp"

namespace tailrace::pool {

class Adaptor : public std::pmr::memory_resource {
 public:
  explicit Adaptor(std::pmr::memory_resource* upstream);  // throws std::invalid_argument: there is none
  std::pmr::memory_resource* upstream() const noexcept { return upstream_; }

 protected:
  void* do_allocate(std::size_t bytes, std::size_t alignment) override { return upstream_->allocate(bytes, alignment); }
  void do_deallocate(void* block, std::size_t bytes, std::size_t alignment) override {
    upstream_->deallocate(block, bytes, alignment);
  }
  bool do_is_equal(const memory_resource& other) const noexcept override { return this == &other; }

 private:
  std::pmr::memory_resource* const upstream_;
};

struct Usage {
  std::size_t used_bytes = 0;
  std::size_t peak_used_bytes = 0;
  std::uint64_t n_alloc = 0;
  std::uint64_t n_free = 0;
  std::uint64_t n_refused = 0;  // by the adaptor's limit
};

// A name, a limit, and what is used under them.
class TagResource : public Adaptor {
 public:
  TagResource(std::pmr::memory_resource* upstream, std::string name, std::size_t limit_bytes = SIZE_MAX);

  const std::string& name() const noexcept { return name_; }
  std::size_t limit_bytes() const noexcept { return limit_bytes_; }
  Usage usage() const noexcept;

 protected:
  void* do_allocate(std::size_t bytes, std::size_t alignment) override;  // throws PoolExhausted
  void do_deallocate(void* block, std::size_t bytes, std::size_t alignment) override;

 private:
  const std::string name_;
  const std::size_t limit_bytes_;
  // relaxed (all): counts; what the limit admits is decided by the addition itself.
  base::atomic<std::size_t> used_bytes_{0}, peak_used_bytes_{0};
  base::atomic<std::uint64_t> n_alloc_{0}, n_free_{0}, n_refused_{0};
};

// No more than so many bytes at a time, whoever asks.
class LimitResource final : public TagResource {
 public:
  LimitResource(std::pmr::memory_resource* upstream, std::size_t limit_bytes)
      : TagResource{upstream, "limit", limit_bytes} {}
};

// Counts for each scope that is open, of all threads.
class StatisticsResource final : public Adaptor {
 public:
  using Adaptor::Adaptor;

  // What happened since it was made, until it is read. `used_bytes` may lie below what was used before: then it is 0.
  class Scope {
   public:
    explicit Scope(StatisticsResource& resource);
    ~Scope();
    Scope(const Scope&) = delete;
    Scope& operator=(const Scope&) = delete;
    Usage usage() const;

   private:
    friend class StatisticsResource;
    StatisticsResource& resource_;
    std::int64_t used_bytes_ = 0, peak_bytes_ = 0;
    std::uint64_t n_alloc_ = 0, n_free_ = 0;
  };

  Usage usage() const;

 protected:
  void* do_allocate(std::size_t bytes, std::size_t alignment) override;
  void do_deallocate(void* block, std::size_t bytes, std::size_t alignment) override;

 private:
  mutable std::mutex mutex_;  // guards what follows, and the scopes
  Usage all_;
  std::vector<Scope*> scopes_;
};

// Writes each call down (docs/memory.md, Traces).
class TraceResource final : public Adaptor {
 public:
  // Throws std::system_error: the file cannot be written.
  TraceResource(std::pmr::memory_resource* upstream, const std::string& path, std::string tag = {});

 protected:
  void* do_allocate(std::size_t bytes, std::size_t alignment) override;
  void do_deallocate(void* block, std::size_t bytes, std::size_t alignment) override;

 private:
  void write(const char* op, const void* block, std::size_t bytes);

  const std::string tag_;
  std::mutex mutex_;  // guards what follows
  TraceFile file_;
};

// Asks, when there is nothing, whether to try again: who is asked may have freed something.
class RetryResource final : public Adaptor {
 public:
  using OnFailure = std::function<bool(std::size_t bytes, std::size_t alignment)>;  // by the thread that allocates
  RetryResource(std::pmr::memory_resource* upstream, OnFailure on_failure);

 protected:
  void* do_allocate(std::size_t bytes, std::size_t alignment) override;  // throws what the last attempt threw

 private:
  const OnFailure on_failure_;
};

}  // namespace tailrace::pool
