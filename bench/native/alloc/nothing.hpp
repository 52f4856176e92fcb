// nothing.hpp -- an engine that allocates nothing.
//
// What      `Nothing`: always the same block, each thread its own.
// Why       What the harness costs: the ring, the clock, and what the machine does to any code.
// Threads   Any.
#pragma once

#include "heap.hpp"

namespace bench::alloc {

class Nothing {
 public:
  class Local {
   public:
    void* allocate(std::size_t) noexcept { return &block_; }
    void deallocate(void*, std::size_t) noexcept {}

   private:
    int block_ = 0;
  };
  const char* name() const noexcept { return "serial"; }
  Local local() noexcept { return {}; }
};

}  // namespace bench::alloc
