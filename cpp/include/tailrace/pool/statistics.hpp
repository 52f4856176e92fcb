// statistics.hpp -- what a memory pool counts.
//
// What      `PoolStatistics`, summed when asked for from the counters of the threads' caches and of the range.
// Why       Nothing on the way of an allocation is shared, so the sum is made by who wants to know.
// Threads   A value. Read while others allocate it is a recent state, exact once they are quiet.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace tailrace::pool {

struct ClassStatistics {
  std::size_t block_bytes = 0;  // what a block of this class holds
  std::uint64_t n_alloc = 0;
  std::uint64_t n_free = 0;
};

struct PoolStatistics {
  std::size_t limit_bytes = 0;
  std::size_t reserved_bytes = 0;    // of address space
  std::size_t committed_bytes = 0;   // which may be resident: used, cached and retained; at most the limit
  std::size_t peak_committed_bytes = 0;
  std::size_t used_bytes = 0;        // in live blocks, by what the blocks hold
  std::size_t peak_used_bytes = 0;   // the highest seen at a shortage, a pass of decay or a look like this
  std::size_t cached_bytes = 0;      // free in threads' caches and in the slabs of small blocks
  std::size_t quarantined_bytes = 0;  // of the cached ones: freed blocks of a hardened pool that wait
  std::size_t retained_bytes = 0;    // free in the range, committed, not yet given back
  std::size_t largest_free_bytes = 0;  // in one piece of the range
  double frag_ratio = 0;             // 1 - largest free piece / all that is free in the range
  std::uint64_t n_alloc = 0;
  std::uint64_t n_free = 0;
  std::uint64_t n_remote_free = 0;   // small blocks that went back to another thread
  std::uint64_t n_miss = 0;          // allocations that went to the range
  double hit_ratio = 1;              // of allocations that did not
  std::uint64_t n_purge = 0;
  std::uint64_t purged_bytes = 0;
  std::uint64_t n_shortage = 0;      // nothing fitted at first
  std::uint64_t n_exhausted = 0;     // nor afterwards
  std::uint64_t n_caches = 0;        // of threads, living and to be adopted
  std::vector<ClassStatistics> classes;  // those used
};

}  // namespace tailrace::pool
