// injection.hpp -- the ways in for closures: one lane for each outside thread.
//
// What      Gives each thread that submits a lane of its own, found again by thread-local storage; workers claim from all.
// Why       Producers share no line with each other; a lane whose thread has ended goes to the next new one.
// Threads   push: any thread, into its own lane. claim, sees_work: workers. pushed: any.
// Checked   tests/cpp/sched/test_scheduler.cpp, tests/stress/scheduler.cpp; the lane itself by tests/model/inject_lane.cpp.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

#include "tailrace/base/atomic.hpp"
#include "tailrace/base/random.hpp"
#include "tailrace/metrics/counter.hpp"
#include "tailrace/queue/inject_lane.hpp"
#include "tailrace/sched/idle.hpp"

namespace tailrace::sched {

class Worker;

class Injection {
 public:
  // What a cell's first word points to: how to run the closure that lies in the others, and whether it is known to take
  // less time than a wake.
  struct Kind {
    void (*run)(const std::uint64_t* closure, Worker* worker);
    bool is_short;
  };
  static const Kind& kind(const queue::Cell& cell) noexcept { return *reinterpret_cast<const Kind*>(cell[0]); }
  // Runs the closure in a cell; `worker` is null on a thread that is none.
  static void run(const queue::Cell& cell, Worker* worker) { kind(cell).run(&cell[1], worker); }

  static constexpr std::size_t kBatch = 64;
  using Batch = std::array<queue::Cell, kBatch>;

  Injection();
  Injection(const Injection&) = delete;
  Injection& operator=(const Injection&) = delete;

  // Pushes and, if need be, wakes a worker. False, with nothing done, when this thread's lane is full or there are too many
  // threads for it to have one.
  bool push(const queue::Cell& cell, Idle& idle);

  // Claims some of the oldest cells of one lane; returns how many (0: none, or another worker was faster).
  std::size_t claim(Batch& out, int workers, base::Random& random);

  // Claims the oldest cells of this thread's own lane; 0 only when there is none.
  std::size_t claim_own(Batch& out);

  bool sees_work() const;

  std::int64_t backlog() const;  // how many cells wait, more or less

  // How many cells were pushed, by every thread, before this call.
  std::uint64_t pushed() const;

 private:
  using Lane = queue::InjectLane<1024>;
  struct Producer {
    Lane lane;
    metrics::Counter pushed;
    base::atomic<bool> owned{true};  // by a live thread; an orphan lane is given to the next new one
  };
  static constexpr std::size_t kMaxProducers = 1024;

  Producer* mine();
  std::shared_ptr<Producer> adopt_or_make();

  const std::uint64_t serial_;  // tells this object from a dead one at the same address
  std::array<base::atomic<Producer*>, kMaxProducers> producers_{};
  base::atomic<std::uint32_t> count_{0};
  std::mutex mutex_;
  std::vector<std::shared_ptr<Producer>> owners_;
};

}  // namespace tailrace::sched
