// place.hpp -- where a thread does fork-join work: the children it has forked, from which others steal.
//
// What      `Place`, one for each worker and for each thread that comes in as a guest; `Forked`, the record of a child,
//           which lies on the stack of who forked it; `Places`, all of a scheduler's.
// Why       A child is nearly always taken back by who forked it. That path is inline and touches no shared line.
// Threads   A place belongs to the thread that works on it; `steal_from`, `wake` and `runs` are for any thread.
// Source    Wagner, Calder 1993, "Leapfrogging": who waits for a stolen child steals back from its thief, whose children
//           are then all descendants of what is waited for; so a stack never grows beyond that of the serial program
//           and one frame for each help. docs/architecture.md has the argument.
// Checked   tests/cpp/sched/test_fork_join.cpp, tests/stress/fork_join.cpp, tests/model/join_word.cpp.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

#include "tailrace/base/atomic.hpp"
#include "tailrace/base/random.hpp"
#include "tailrace/metrics/counter.hpp"
#include "tailrace/queue/split_deque.hpp"
#include "tailrace/sched/idle.hpp"
#include "tailrace/sched/join_word.hpp"

namespace tailrace::sched {

class Place;
class Places;

// A forked child. `run` is for who did not fork it: it runs the child at `thief` and tells `owner`, where it was
// forked; with no thief it gives the child back to its owner unrun.
struct Forked {
  using Run = void (*)(Forked& self, Place* thief, Place& owner) noexcept;
  explicit Forked(Run how) noexcept : run{how} {}
  Forked(const Forked&) = delete;
  Forked& operator=(const Forked&) = delete;

  const Run run;
  JoinWord join;
};

class Place {
 public:
  Place(Places& places, int id, bool shares);
  Place(const Place&) = delete;
  Place& operator=(const Place&) = delete;

  // Makes `child` stealable and returns its slot. Throws std::bad_alloc, having done nothing.
  Forked** push(Forked* child) {
    Forked** const slot = deque_.push(child);
    if (deque_.must_share()) [[unlikely]]
      share();
    return slot;
  }
  // Shares if somebody has asked; for who leaves a child on the stack and goes on.
  void poll() {
    if (deque_.must_share()) [[unlikely]]
      share();
  }
  bool is_mine(Forked* const* slot, const Forked* child) const noexcept { return deque_.is_mine(slot, child); }
  void drop(Forked** slot) noexcept { deque_.drop(slot); }
  bool take_back(Forked** slot, Forked* child) noexcept {
    if (deque_.is_mine(slot, child)) [[likely]] {
      deque_.drop(slot);
      return true;
    }
    return take_back_slowly(child);
  }
  bool take_back_slowly(Forked* child) noexcept;

  // Waits for a child that was stolen; helps with its descendants meanwhile. Never returns kPending or kSleeping.
  Joined wait(Forked& stolen) noexcept;

  // A thief's last words about a child of `owner`.
  static void finish(Forked& child, Joined how, Place& owner) noexcept {
    if (child.join.finish(how)) owner.wake();
  }
  void wake() noexcept { nap_.wake(); }

  // Runs a child of `owner`, which was stolen for this place.
  void run(Forked& child, Place& owner) noexcept;
  // Runs what lies here: tasks of groups whose home is elsewhere.
  void run_own() noexcept;
  bool has_own() const noexcept { return !deque_.nothing_mine(); }
  bool has_private() const noexcept { return !deque_.nothing_private(); }

  int id() const noexcept { return id_; }
  Places& places() noexcept { return places_; }
  std::uint64_t stolen() const noexcept { return stolen_.read(); }

 private:
  friend class Places;
  friend class TaskGroup;

  // Steals from the place `thief` (its number plus one; 0: unknown) what belongs to `scope`, and runs it.
  bool help(std::uint32_t thief, const void* scope) noexcept;
  bool watch(std::uint32_t thief) noexcept;
  bool runs(const void* scope) const noexcept;
  // What this place runs is part of `scope`: a child's own record, unless it says otherwise by this.
  void rescope(const void* scope) noexcept;
  void share();

  static constexpr std::uint32_t kMaxHelp = 32;  // stolen children that one thread runs one within the other

  queue::SplitDeque<Forked> deque_;
  Places& places_;
  const int id_;
  std::uint64_t tasks_pushed_ = 0;  // of groups, by this place; see TaskGroup
  metrics::Counter stolen_;  // from others, by this place

  // For others.
  alignas(base::kCacheLine) Nap nap_;
  base::atomic<std::uint32_t> helper_{0};  // a place, plus one, that sleeps until we share
  base::atomic<std::uint32_t> depth_{0};  // stolen children being run, one within the other
  std::array<base::atomic<const void*>, kMaxHelp> scopes_{};
  base::atomic<bool> taken_{false};  // a guest's place: somebody works on it
};

class Places {
 public:
  static constexpr std::uint32_t kMaxGuests = 64;
  static constexpr int kAlone = -1;  // the number of a place that nobody else looks at

  // `shares`: false in the virtual runtime, where one thread does all.
  Places(Idle& idle, int workers, bool shares, std::int64_t spin_ns);

  // From now on the first `slots` workers may fork; the places of the others are looked at by nobody.
  void use(int slots) noexcept {
    // relaxed: one thread at a time says so. [F6] seq_cst: before that worker can push.
    if (slots > used_.load(base::relaxed)) used_.store(slots, base::seq_cst);
  }

  Place& of_worker(int id) noexcept { return *workers_[static_cast<std::size_t>(id)]; }
  Place& at(int id) noexcept;

  // For a thread that is no worker: a free place, or null when all are taken.
  Place* enter();
  void leave(Place& place) noexcept;

  // For a worker that has nothing else to do: runs a child of any place. `found` is called before it.
  template <class Found>
  bool run_stolen(Place& thief, base::Random& random, Found&& found) {
    Place* owner = nullptr;
    Forked* child = steal_any(thief, random, owner);
    if (child == nullptr) return false;
    found();
    thief.run(*child, *owner);
    return true;
  }
  // For parkers and searchers: is anything public? Asks every place for work if not.
  bool sees_work() noexcept;

 private:
  friend class Place;
  friend class TaskGroup;

  Forked* steal_any(Place& thief, base::Random& random, Place*& owner) noexcept;
  void notify() noexcept {
    if (shares_) idle_.notify();
  }
  int used() const noexcept;
  int guests() const noexcept;
  Place& nth(int k, int used) noexcept;

  Idle& idle_;
  const bool shares_;
  const std::int64_t spin_ns_;
  std::vector<std::unique_ptr<Place>> workers_;
  base::atomic<int> used_{0};  // workers that may have forked
  std::mutex guests_mutex_;  // to make a place, once
  std::vector<std::unique_ptr<Place>> guest_owners_;
  std::array<base::atomic<Place*>, kMaxGuests> guests_{};
  base::atomic<std::uint32_t> guest_count_{0};
};

}  // namespace tailrace::sched
