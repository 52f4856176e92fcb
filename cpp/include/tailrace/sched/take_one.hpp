// take_one.hpp -- one item of a gated lane, for a thread that stands in for the workers.
//
// What      Takes the permit, one item, and gives the permit up again, with all that its holder owes the others: to say
//           what it has turned round, to look once more, to end what is left after a stop.
// Why       A stand-in is no worker: it neither sleeps nor searches, so nobody relies on it, and it may take one item of
//           many. Pushers that saw the permit held have woken nobody; that wake is then the stand-in's to make.
// Threads   Any thread inside what the gate guards that is not a worker.
// Checked   tests/model/stand_in.cpp (a pusher, a worker, a stand-in; a stop; with mutants).
#pragma once

namespace tailrace::sched {

// An item to run, or null: there is none, the lane has stopped, or who holds the permit will see to it.
// `stopped` reads the stop seq_cst ([S4]), `sweep` ends what lies in the lane, `notify` wakes a worker for it.
template <class Lane, class Stopped, class Sweep, class Notify>
auto take_one(Lane& lane, Stopped&& stopped, Sweep&& sweep, Notify&& notify) -> decltype(lane.pop()) {
  const auto ticket = lane.gate.try_acquire();
  if (ticket == 0) return nullptr;
  const auto item = stopped() ? nullptr : lane.pop();
  lane.note_leftover();
  lane.gate.release(ticket);
  // After the release, which is seq_cst ([G3]): a pusher that saw the permit held has its item in the lane by now.
  if (stopped()) {
    sweep();
  } else if (lane.has_items()) {
    notify();
  }
  return item;
}

}  // namespace tailrace::sched
