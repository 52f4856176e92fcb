// scheduler.hpp -- the workers, the ways in, the timers; start, drain, stop.
//
// What      Owns everything that runs. `submit` takes a closure from any thread, `push_gated` an item for the gated
//           lane, `push_blocking` one for the elastic lane.
// Why       One object to embed: a C++ service needs this header, a library to link, and nothing of Python.
// Threads   Any thread may submit, push, arm timers, resize, stop and read statistics. Not to be destroyed by a body.
//           In a virtual scheduler everything is one thread: the one that calls `drive`.
// Checked   tests/cpp/sched/test_scheduler.cpp, tests/stress/scheduler.cpp.
#pragma once

#include <array>
#include <cstdint>
#include <cstring>
#include <memory>
#include <span>
#include <string>
#include <type_traits>
#include <vector>

#include "tailrace/base/clock.hpp"
#include "tailrace/sched/blocking_lane.hpp"
#include "tailrace/sched/crew.hpp"
#include "tailrace/sched/deadline_lane.hpp"
#include "tailrace/sched/gate_keeper.hpp"
#include "tailrace/sched/idle.hpp"
#include "tailrace/sched/injection.hpp"
#include "tailrace/sched/lanes.hpp"
#include "tailrace/sched/open_lane.hpp"
#include "tailrace/sched/options.hpp"
#include "tailrace/sched/permit_lane.hpp"
#include "tailrace/sched/place.hpp"
#include "tailrace/sched/spin.hpp"
#include "tailrace/sched/statistics.hpp"
#include "tailrace/sched/thread.hpp"
#include "tailrace/sched/virtual_bag.hpp"
#include "tailrace/sched/watch.hpp"
#include "tailrace/sched/worker.hpp"

namespace tailrace::sched {

enum class Submitted : std::uint8_t {
  kQueued,   // a worker will run it, also when a stop begins now
  kFull,     // this thread's lane is full
  kStopped,  // the scheduler has stopped
};

class Scheduler {
 public:
  static constexpr std::int64_t kUnknownCost = -1;

  explicit Scheduler(SchedulerOptions options);
  Scheduler(const Scheduler&) = delete;
  Scheduler& operator=(const Scheduler&) = delete;
  ~Scheduler();  // stops, and waits for bodies that run

  // Runs `closure(Worker*)` on a worker. The closure is stored in the lane's cell: at most 56 bytes, trivially
  // copyable. When it is refused (see try_submit) the caller runs it here and now, with a null worker: it runs once in
  // any case, and one that submits itself again must look at the pointer. `cost_ns`: how long it takes, if that is
  // known: for work that is shorter than a wake, no second worker is woken. A body that may wait has no such cost.
  template <class Closure>
  Submitted submit(Closure closure, std::int64_t cost_ns = kUnknownCost) {
    const Submitted how = try_submit(closure, cost_ns);
    if (how != Submitted::kQueued) closure(nullptr);
    return how;
  }

  // The same, but a closure that is refused does not run.
  template <class Closure>
  [[nodiscard]] Submitted try_submit(const Closure& closure, std::int64_t cost_ns = kUnknownCost) {
    static_assert(sizeof(Closure) <= 56 && std::is_trivially_copyable_v<Closure>,
                  "capture at most 56 bytes of pointers and numbers; box anything larger");
    queue::Cell cell{};
    static constexpr auto kRun = [](const std::uint64_t* words, Worker* worker) {
      alignas(Closure) unsigned char bytes[sizeof(Closure)];
      std::memcpy(bytes, words, sizeof(Closure));
      (*reinterpret_cast<Closure*>(bytes))(worker);
    };
    static constexpr Injection::Kind kKinds[2] = {{kRun, false}, {kRun, true}};
    const bool is_short = cost_ns >= 0 && cost_ns < idle_.cost().start_ns();
    cell[0] = reinterpret_cast<std::uint64_t>(&kKinds[is_short ? 1 : 0]);
    std::memcpy(&cell[1], &closure, sizeof(Closure));
    return inject(cell);
  }

  // Starts the workers, which the first work does otherwise. Throws std::system_error when there can be none.
  void ensure_started();

  // Gives `item` to the open lane: any worker runs it, those of a higher `priority` first.
  void push(Item* item);
  // Gives `item` to worker `worker` (0 to worker_count() - 1), which alone may run it. Throws std::out_of_range.
  void push_to(int worker, Item* item);
  // Gives `item` to the deadline lane: the earliest goes first, and one whose deadline has passed when it is taken is
  // completed as timed out. `deadline_ns` is a time of `clock()`; push_deadline_in counts from now. Throw
  // std::invalid_argument for a time before zero, a number that is none, or one more than ten years ahead.
  void push_deadline(Item* item, std::int64_t deadline_ns);
  void push_deadline_in(Item* item, double seconds);
  // A lane of which at most `width` items run at once; it lives as long as the scheduler. Throws std::invalid_argument.
  PermitLane& make_gate(GateOptions options);
  // Gives `item` to the gated lane. As with every push, it is completed as cancelled when the scheduler has stopped.
  void push_gated(Item* item);
  void push_blocking(Item* item);

  // For a thread that stands in for workers, inside what the gate guards: an item of the gated lane to run, or null
  // when there is none or a worker will see to it.
  Item* take_gated();

  void arm(Timer& timer, std::int64_t deadline_ns) { watch_.arm(timer, deadline_ns); }
  bool cancel(Timer& timer) { return watch_.cancel(timer); }

  // Changes the number of workers, 1 to options().max_workers. More: threads start. Fewer: each that is one too many
  // finishes what it runs and retires; what lies in its deque is stolen. From any thread, a body too. Throws
  // std::invalid_argument for a number outside, std::logic_error once the scheduler stops.
  void resize(int workers);

  // Waits until every closure submitted before has run. Throws std::logic_error inside a body, which it would wait for.
  void drain();

  // Ends. `stop_begin`: no new work; queued items complete as cancelled, on this thread. `stop_wait`: waits until
  // `deadline_ns` (monotonic) for closures and bodies that run, and names the threads that it leaves. Both may be
  // called again, by several threads and by a body, which `stop_wait` then reports as late.
  void stop_begin(bool cancel_blocking = true);
  StopResult stop_wait(std::int64_t deadline_ns);
  // Both: waits `bound_ns` at most.
  StopResult stop(std::int64_t bound_ns);

  Statistics statistics() const;

  // Virtual runtime: does one thing (a step, a due timer). False when nothing can be done at the present time.
  bool drive_once();
  // The next time at which something will happen by itself; kNever when nothing will.
  std::int64_t next_event_ns();
  base::VirtualClock& virtual_clock() noexcept { return virtual_clock_; }

  const base::Clock& clock() const noexcept { return *clock_; }
  const SchedulerOptions& options() const noexcept { return options_; }
  // How many workers are to be runnable. Fewer run for a moment after `resize`; more while some are blocked.
  int worker_count() const noexcept { return crew_.wanted(); }
  // Every worker that there ever was: items may be left in the deque of one that has retired.
  std::span<const std::unique_ptr<Worker>> workers() const noexcept {
    return {workers_.data(), static_cast<std::size_t>(crew_.slots())};
  }
  Worker& worker(int i) noexcept { return *workers_[static_cast<std::size_t>(i)]; }
  // The scheduler whose worker this thread is, or null.
  static Scheduler* of_this_thread() noexcept;
  GatedLane& lane() noexcept { return lane_; }
  LaneDepths lane_depths() const;
  Idle& idle() noexcept { return idle_; }
  Places& places() noexcept { return places_; }
  BlockingStatistics blocking_statistics() const { return blocking_.statistics(); }
  // [S1] acquire: who sees the flag sees the reason. Pairs with [S2].
  bool stopping() const noexcept { return stopping_.load(base::acquire); }
  bool started() const noexcept { return started_.load(base::acquire); }  // [S1] acquire: pairs with [S3]

 private:
  friend class Worker;

  // For who has pushed an item or given the permit up, and must not miss a stop that begins meanwhile.
  bool must_sweep() const noexcept { return stopping_.load(base::seq_cst); }  // [S4] seq_cst: pairs with [S2]

  Submitted inject(const queue::Cell& cell);
  void run_own_closures();
  void wake_surplus() noexcept;
  void make_worker(int slot);
  void work(int slot);
  void start();
  void sweep();
  void sweep_open();
  void sweep_deadline();
  void end_gates();
  bool all_injected_ran() const;
  std::vector<LateThread> late_workers(std::int64_t began_ns, const std::vector<std::uint64_t>& items) const;

  const SchedulerOptions options_;
  base::VirtualClock virtual_clock_;
  const base::Clock* clock_;
  GateKeeper null_keeper_;
  GateKeeper* keeper_;
  const std::vector<int> cpus_;  // of each worker; empty: anywhere
  const Topology topology_;
  std::vector<std::unique_ptr<Worker>> workers_;  // max_workers places, filled up to crew_.slots()
  GatedLane lane_;
  OpenLane open_;
  DeadlineLane deadline_;
  Idle idle_;
  Places places_;
  Injection injection_;
  BlockingLane blocking_;
  VirtualBag virtual_bag_;
  Crew crew_;

  base::atomic<bool> started_{false};
  base::atomic<bool> stopping_{false};
  Watch watch_;
  base::atomic<std::uint32_t> stop_turn_{0};  // 1: somebody waits for the threads to end
  std::vector<Thread> watch_thread_;  // whose turn it is
  std::mutex gates_mutex_;
  std::vector<std::unique_ptr<PermitLane>> gates_;

  base::atomic<std::uint64_t> ran_by_submitters_{0};  // closures taken back by who submitted them, at stop
  base::atomic<std::uint32_t> quiet_epoch_{0};  // bumped by a worker that finds nothing while somebody drains
  base::atomic<std::int32_t> drainers_{0};
  base::atomic<std::uint64_t> affine_pushed_{0};
};

}  // namespace tailrace::sched
