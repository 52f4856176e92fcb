// raisable.hpp -- an item whose priority may be raised while it is queued.
//
// What      A claim, and an entry of its own for each priority it may be raised to. Raising pushes such an entry beside the one
//           that is queued; the first to be taken claims the item, the others are dropped when their turn comes.
// Why       Nobody can take an item out of the middle of a lane, and nobody has to.
// Threads   raise: any thread that holds the item. The rest: whoever takes an entry.
// Checked   tests/model/raisable.cpp (a raiser and two takers, with mutants), tests/cpp/sched/test_raisable.cpp,
//           tests/stress/lanes.cpp.
#pragma once

#include <array>
#include <cstdint>

#include "tailrace/base/atomic.hpp"
#include "tailrace/sched/item.hpp"

namespace tailrace::sched {

class Scheduler;

template <class Atomics = base::StdAtomics>
class BasicClaim {
 public:
  // True for one caller. relaxed: the one order of this word decides; what the item holds came with the entry.
  bool take() noexcept { return !taken_.exchange(true, base::relaxed); }
  bool taken() const noexcept { return taken_.load(base::relaxed); }  // relaxed: a hint

 private:
  typename Atomics::template atomic<bool> taken_{false};
};

// Push it once (Scheduler::push). For that push and for each raise that returns true, exactly one of run_once,
// complete_once and drop is called; the item must live until all of these calls have been made.
class RaisableItem : public Item {
 public:
  RaisableItem() = default;

  virtual void run_once(Worker* worker) = 0;
  virtual void complete_once(base::Outcome outcome) = 0;
  // A raise is about to push: one more call will come. Before that call can be made.
  virtual void retain() = 0;

  // Moves it up to `to`. False, and nothing is called, if it was taken, stands there, or is of higher priority.
  bool raise(Scheduler& scheduler, Priority to);

  void run(Worker* worker) final { claim_.take() ? run_once(worker) : drop(); }
  void complete(base::Outcome outcome) final { claim_.take() ? complete_once(outcome) : drop(); }

 protected:
  ~RaisableItem() = default;

 private:
  struct Entry final : Item {
    void run(Worker* worker) override { of->run(worker); }
    void complete(base::Outcome outcome) override { of->complete(outcome); }
    void drop() override { of->drop(); }
    RaisableItem* of = nullptr;
  };

  BasicClaim<> claim_;
  base::atomic<std::uint8_t> raised_{0};  // a bit for each priority that it was raised to
  std::array<Entry, kPriorities - 1> entries_;  // nothing is raised to the lowest
};

}  // namespace tailrace::sched
