// purge.hpp -- one thread of the process gives unused memory back, so that memory falls without any traffic.
//
// What      `register_core`: the pools there are, for the purge thread and for a fork. `wake_purge`: there is work for it.
// Why       Every allocator that purges in the calls of its users keeps what it has when the users fall silent; and a worker
//           that purged would keep a request waiting for a system call (docs/decisions/0020).
// Threads   Any. The thread starts with the first pool whose memory decays, sleeps while nothing happens, lets all signals be
//           handled by others, and is never joined: what it uses is never destroyed.
#pragma once

#include <memory>

namespace tailrace::pool {

class Core;

void register_core(const std::shared_ptr<Core>& core);
void wake_purge() noexcept;

}  // namespace tailrace::pool
