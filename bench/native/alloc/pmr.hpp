// pmr.hpp -- the standard library's pools as engines.
//
// What      `Synchronized`, one pool for all threads behind its mutex; `Unsynchronized`, one for each thread.
// Why       The answer that needs no library.
// Threads   As their names say.
#pragma once

#include <memory_resource>

#include "heap.hpp"

namespace bench::alloc {

template <class Pool>
class Resource {
 public:
  void* allocate(std::size_t bytes) { return pool_.allocate(bytes, kAlignment); }
  void deallocate(void* block, std::size_t bytes) { pool_.deallocate(block, bytes, kAlignment); }

 private:
  Pool pool_;
};

class Synchronized : public Resource<std::pmr::synchronized_pool_resource> {
 public:
  const char* name() const noexcept { return "pmr synchronized"; }
  Synchronized& local() noexcept { return *this; }
};

class Unsynchronized {
 public:
  const char* name() const noexcept { return "pmr unsynchronized"; }
  Resource<std::pmr::unsynchronized_pool_resource> local() { return {}; }
};

}  // namespace bench::alloc
