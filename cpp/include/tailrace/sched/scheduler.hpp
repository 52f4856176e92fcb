// scheduler.hpp -- the workers, the ways in, the timers; start, drain, stop.
//
// What      Owns everything that runs. `submit` takes a closure from any thread, `push_gated` an item for the gated
//           lane, `push_blocking` one for the elastic lane.
// Why       One object to embed: a C++ service needs this header, a library to link, and nothing of Python.
// Threads   Any thread may submit, push, arm timers and read statistics. stop: one caller at a time.
//           In a virtual scheduler everything is one thread: the one that calls `drive`.
// Checked   tests/cpp/sched/test_scheduler.cpp, tests/stress/scheduler.cpp.
#pragma once

#include <array>
#include <cstdint>
#include <cstring>
#include <memory>
#include <mutex>
#include <string>
#include <type_traits>
#include <vector>

#include "tailrace/base/clock.hpp"
#include "tailrace/sched/blocking_lane.hpp"
#include "tailrace/sched/gate_keeper.hpp"
#include "tailrace/sched/idle.hpp"
#include "tailrace/sched/injection.hpp"
#include "tailrace/sched/lanes.hpp"
#include "tailrace/sched/open_lane.hpp"
#include "tailrace/sched/place.hpp"
#include "tailrace/sched/spin.hpp"
#include "tailrace/sched/thread.hpp"
#include "tailrace/sched/virtual_bag.hpp"
#include "tailrace/sched/watch.hpp"
#include "tailrace/sched/worker.hpp"

namespace tailrace::sched {

struct SchedulerOptions {
  std::string name = "tailrace";
  int workers = 1;                   // 1 .. kMaxWorkers
  int max_blocking = 512;            // threads of the blocking lane
  Profile profile = Profile::kBalanced;  // how long a worker looks for work before it parks; eco: not at all
  std::int64_t spin_ns = -1;             // the same in nanoseconds, instead of the profile's
  std::int64_t slice_ns = 1'000'000;  // how long a worker drains behind the gate before it lets others in
  std::uint64_t seed = 0x7a11;
  bool membarrier = true;            // use it where the system has it; false: sequentially consistent stores
  bool is_virtual = false;           // no threads: `drive` runs the workers
  GateKeeper* keeper = nullptr;      // null: the gate guards nothing
};

// Items that wait: recent values, exact when nobody pushes or takes.
struct LaneDepths {
  std::array<std::int64_t, kPriorities> open{};  // by class
  std::int64_t affine = 0;
  std::int64_t gated = 0;
};

class Scheduler {
 public:
  static constexpr std::int64_t kUnknownCost = -1;

  explicit Scheduler(SchedulerOptions options);
  Scheduler(const Scheduler&) = delete;
  Scheduler& operator=(const Scheduler&) = delete;
  ~Scheduler();  // stops, and waits for bodies that run

  // Runs `closure(Worker*)` on a worker. The closure is stored in the lane's cell: at most 56 bytes, trivially
  // copyable. When this thread's lane is full, the caller runs it here and now. `cost_ns`: how long it takes, if that is
  // known: for work that is shorter than a wake, no second worker is woken. A body that may wait has no such cost.
  template <class Closure>
  void submit(Closure closure, std::int64_t cost_ns = kUnknownCost) {
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
    if (!inject(cell)) closure(nullptr);
  }

  // Starts the workers, which the first work does otherwise. Throws std::system_error when there can be none.
  void ensure_started();

  // Gives `item` to the open lane: any worker runs it, those of a higher `priority` first.
  void push(Item* item);
  // Gives `item` to worker `worker` (0 to worker_count() - 1), which alone may run it. Throws std::out_of_range.
  void push_to(int worker, Item* item);
  // Gives `item` to the gated lane. As with every push, it is completed as cancelled when the scheduler has stopped.
  void push_gated(Item* item);
  void push_blocking(Item* item);

  // For a thread that stands in for workers, inside what the gate guards: an item of the gated lane to run, or null
  // when there is none or a worker will see to it.
  Item* take_gated();

  void arm(Timer& timer, std::int64_t deadline_ns) { watch_.arm(timer, deadline_ns); }
  bool cancel(Timer& timer) { return watch_.cancel(timer); }

  // Waits until every closure submitted before has run. Not from a worker.
  void drain();

  // Ends. `stop_begin`: no new work; queued items complete as cancelled, on this thread. `stop_wait`: waits until
  // `deadline_ns` (monotonic) for closures and bodies that run; true when every thread has ended.
  void stop_begin(bool cancel_blocking = true);
  bool stop_wait(std::int64_t deadline_ns);

  // Virtual runtime: does one thing (a step, a due timer). False when nothing can be done at the present time.
  bool drive_once();
  // The next time at which something will happen by itself; kNever when nothing will.
  std::int64_t next_event_ns();
  base::VirtualClock& virtual_clock() noexcept { return virtual_clock_; }

  const base::Clock& clock() const noexcept { return *clock_; }
  const SchedulerOptions& options() const noexcept { return options_; }
  int worker_count() const noexcept { return static_cast<int>(workers_.size()); }
  Worker& worker(int i) noexcept { return *workers_[static_cast<std::size_t>(i)]; }
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

  bool inject(const queue::Cell& cell);
  void start();
  void sweep();
  void sweep_open();
  bool all_injected_ran() const;

  const SchedulerOptions options_;
  base::VirtualClock virtual_clock_;
  const base::Clock* clock_;
  GateKeeper null_keeper_;
  GateKeeper* keeper_;
  std::vector<std::unique_ptr<Worker>> workers_;
  GatedLane lane_;
  OpenLane open_;
  Idle idle_;
  Places places_;
  Injection injection_;
  BlockingLane blocking_;
  VirtualBag virtual_bag_;

  base::atomic<bool> started_{false};
  base::atomic<bool> stopping_{false};
  Watch watch_;
  std::mutex life_mutex_;
  std::vector<Thread> threads_;

  base::atomic<std::uint32_t> quiet_epoch_{0};  // bumped by a worker that finds nothing while somebody drains
  base::atomic<std::int32_t> drainers_{0};
  base::atomic<std::uint64_t> affine_pushed_{0};
};

}  // namespace tailrace::sched
