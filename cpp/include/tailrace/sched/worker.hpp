// worker.hpp -- one worker: a state machine that does one piece of work at a time.
//
// What      `step` finds and runs one item, or says that it would park. The thread loop is a wrapper around it.
// Why       The virtual runtime drives many workers from one thread with the same code (docs/architecture.md).
// Threads   step, loop, push: the worker's own thread (or the virtual driver). deque().steal, statistics: any thread.
//           begin_blocking, end_blocking: see there.
// Checked   tests/cpp/sched/test_scheduler.cpp, tests/stress/scheduler.cpp.
#pragma once

#include <array>
#include <cstdint>
#include <string>

#include "tailrace/base/clock.hpp"
#include "tailrace/base/random.hpp"
#include "tailrace/metrics/counter.hpp"
#include "tailrace/queue/mpsc_queue.hpp"
#include "tailrace/queue/steal_deque.hpp"
#include "tailrace/sched/affinity.hpp"
#include "tailrace/sched/gate.hpp"
#include "tailrace/sched/injection.hpp"
#include "tailrace/sched/item.hpp"
#include "tailrace/sched/place.hpp"
#include "tailrace/sched/spin.hpp"
#include "tailrace/sched/statistics.hpp"

namespace tailrace::sched {

class Scheduler;

enum class Progress : std::uint8_t { kRan, kWouldPark };

struct WorkerCounters {
  metrics::Counter items;     // items that were run
  metrics::Counter injected;  // closures that were run, be it as `boxed` items
  metrics::Counter boxed, batches, steals, steal_attempts, parks, wakes, gate_entries, busy_ns, spins, spins_paid;
  std::array<metrics::Counter, kPriorities> open;  // items of the open lane that were run, by class
  metrics::Counter affine;                         // items of its inbox that were run
  metrics::Counter late;                           // items whose deadline had passed, so that they were not run
};

class Worker {
 public:
  Worker(Scheduler& scheduler, int id, std::uint64_t seed, StealOrder order);
  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;

  Progress step();
  void loop();

  // Makes an item of this worker's own; others may steal it.
  void push(Item* item);

  // Around a body that runs behind the gate: `open` lets another worker in meanwhile.
  void enter_body(bool open);
  bool leave_body();  // true: the permit is still ours
  // Between two bodies: false when another worker has taken the permit over and drains now. Two inside would take turns.
  bool keeps_gate();
  // Inside a body that was thought short and now waits: lets another worker in, as for a long one.
  void open_body();

  // Leaves the gate, if it is held; for a body that must block without it.
  void leave_gate();

  // Around a wait inside a body (a lock, a socket, a latch): another worker runs in this one's place meanwhile, if
  // max_workers allows it, and takes over what this one has claimed. In pairs; called by the body.
  void begin_blocking();
  void end_blocking();
  // The same for a body that says nothing: by a thread that knows that it overruns (a timer), and knows it to be inside.
  void replace();
  void end_replacement();

  int id() const noexcept { return id_; }
  const std::string& name() const noexcept { return name_; }
  Scheduler& scheduler() noexcept { return scheduler_; }
  Place& place() noexcept { return place_; }  // where this worker forks
  queue::StealDeque<Item*>& deque() noexcept { return deque_; }
  const queue::StealDeque<Item*>& deque() const noexcept { return deque_; }
  WorkerCounters& counters() noexcept { return counters_; }
  WorkerStatistics statistics() const;
  base::Random& random() noexcept { return random_; }

  void* keeper_state = nullptr;  // the gate keeper's own (a Python thread state)
  std::int64_t virtual_busy_until_ns = 0;  // virtual runtime: takes no work before this

 private:
  friend class Scheduler;
  static constexpr std::uint32_t kAgeing = 16;
  static constexpr std::int64_t kFirstRing = 16;

  bool find_work();
  bool take_aged(Item*& item);
  void run(Item* item);
  Item* take_gated();
  Item* take_open(Priority priority);
  Item* take_affine();
  Item* take_deadline(std::int64_t slack_ns, bool* ended);
  bool take_injected();
  bool goes_on_searching(const queue::Cell& next);
  bool look_around(std::int64_t window_ns) const;
  template <class DequeOf>
  Item* steal_from(DequeOf&& deque_of);
  Item* steal();
  Item* steal_open(Priority priority);
  bool sees_open() const;
  void complete_own();
  bool run_forked();
  bool sees_work() const;
  void found_work();
  void wait_for_work();
  void retire();
  bool is_last_look() const;
  bool has_affine() const noexcept { return !inbox_.empty() || inbox_.turned_round(); }
  void begin_busy() noexcept;
  void end_busy() noexcept;

  // What a stop says of a worker that does not end. relaxed: a recent value.
  std::uint64_t items_run() const noexcept {
    return counters_.items.read() + counters_.injected.read() - counters_.boxed.read();
  }
  const char* doing() const noexcept { return doing_.load(base::relaxed); }
  std::int64_t body_since_ns() const noexcept;

  Scheduler& scheduler_;
  const int id_;
  const std::string name_;
  const StealOrder order_;
  queue::StealDeque<Item*> deque_;
  std::array<queue::StealDeque<Item*>, kPriorities> open_{
      queue::StealDeque<Item*>{kFirstRing}, queue::StealDeque<Item*>{kFirstRing}, queue::StealDeque<Item*>{kFirstRing}};
  queue::MpscQueue<Item> inbox_;  // items that only this worker may run
  Place& place_;
  base::Random random_;
  WorkerCounters counters_;

  Gate::Ticket ticket_ = 0;  // of the gate; 0: the permit is not ours
  bool inside_gate_ = false;  // the keeper has let us in (we hold the GIL)
  bool searching_ = false;  // counted in Idle
  std::int64_t search_ends_ns_ = 0;  // with short work, from its first; 0: none so far in this search
  SpinWindow spin_;
  std::uint32_t looks_ = 0;  // for ageing
  std::int64_t gate_entered_ns_ = 0;

  Injection::Batch batch_;  // closures that were claimed and not yet run
  std::size_t batch_next_ = 0, batch_end_ = 0;
  base::atomic<const char*> doing_{"nothing"};
  base::atomic<std::int64_t> busy_since_ns_{base::kNever};  // never: it looks for work, or sleeps
  base::atomic<std::uint64_t> busy_from_items_{0};  // how many items it had run by then
};

}  // namespace tailrace::sched
