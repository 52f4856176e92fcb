// run_ticket.cpp -- a run's invitation to a worker: posted, changed in priority, taken or dropped. All under the GIL.
#include "run_block.hpp"
#include "stand_in.hpp"

namespace tailrace::bindings {

void RunBlock::Ticket::drop() {
  flow::Run& run = block.run;
  if (this != &block.ticket) delete this;
  run.release();
}

bool RunBlock::Ticket::take() {
  queued = false;
  --block.queued[static_cast<std::size_t>(priority)];
  return priority == block.priority && std::exchange(block.invited, false);
}

void post_ticket(RunBlock* block) {
  if (block->invited || block->runtime->debug) return;
  block->invited = true;
  std::uint8_t& queued = block->queued[static_cast<std::size_t>(block->priority)];
  if (queued > 0) return relieve(block->runtime);  // one was left there when the priority was changed
  ++queued;
  RunBlock::Ticket* ticket = block->ticket.queued ? new RunBlock::Ticket{*block} : &block->ticket;
  ticket->queued = true;
  ticket->priority = block->priority;
  ticket->level = block->service_ns < 0 ? sched::kNewLevel : sched::service_level(block->service_ns);
  ticket->deadline_ns = block->deadline_ns;
  block->run.retain();
  block->runtime->scheduler().push_gated(ticket);
  relieve(block->runtime);
}

bool set_priority(RunBlock* block, sched::Priority priority) {
  if (block->done()) return false;
  if (priority == std::exchange(block->priority, priority)) return true;
  if (std::exchange(block->invited, false)) post_ticket(block);
  return true;
}

}  // namespace tailrace::bindings
