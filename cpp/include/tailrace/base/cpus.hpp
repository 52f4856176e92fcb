// cpus.hpp -- how many processors this process may run on.
//
// What      The size of the affinity mask, at least 1.
// Why       A thread that spins while others wait for a core takes it from the one it waits for.
// Threads   Any.
#pragma once

namespace tailrace::base {

int available_cpus() noexcept;

}  // namespace tailrace::base
