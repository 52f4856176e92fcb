// levels.hpp -- the instruction sets of this machine, for tests that run a kernel at each.
//
// What      `for_each_level(body)`: calls body(isa) for every level that can run here.
// Why       The sanitizers see a read behind an array only if the level that does it runs.
// Threads   One.
#pragma once

#include "cpu/isa.hpp"

namespace tailrace::test {

template <class Body>
void for_each_level(Body body) {
  for (int level = 0; level <= static_cast<int>(kernels::best_isa()); ++level) body(static_cast<kernels::Isa>(level));
}

}  // namespace tailrace::test
