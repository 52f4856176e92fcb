// timers.hpp -- deadlines: armed and cancelled by any thread without a lock, fired in order by one that owns the wheel.
//
// What      A timer holds an *entry*, and so does the wheel once it was armed: one word says who holds it and whether it is
//           armed. To cancel is one exchange on that word; the entry stays where it lies. To arm again is one exchange too,
//           if the entry lies at or before the new deadline: the owner finds it there and moves it on. Else the entry
//           comes to the owner by an inbox.
// Why       The deadline of every run is armed and, nearly always, cancelled, and a run's timer is used again for the next
//           run: so the wheel is touched once in a deadline's length, not twice in each run.
// Threads   arm, cancel: any thread, one at a time for one timer; cancel may race with fire. The rest: the owner (the watch,
//           or who drives a virtual runtime). A timer may be destroyed once it was cancelled or has fired.
// ABA       The word holds the number of the arming, which is never used again: an exchange meant for an earlier arming fails.
// Checked   tests/model/timers.cpp (fire against cancel and arming again, no lost wake; with mutants),
//           tests/cpp/sched/test_timers.cpp, tests/stress/timers.cpp, bench/native/timers.
#pragma once

#include <algorithm>
#include <cstdint>

#include "tailrace/base/atomic.hpp"
#include "tailrace/base/cache_line.hpp"
#include "tailrace/base/check.hpp"
#include "tailrace/base/clock.hpp"
#include "tailrace/queue/push_stack.hpp"
#include "tailrace/queue/timer_wheel.hpp"

namespace tailrace::sched {

template <class Atomics>
class BasicTimers;

template <class Atomics>
class BasicTimer {
 public:
  BasicTimer() = default;
  BasicTimer(const BasicTimer&) = delete;
  BasicTimer& operator=(const BasicTimer&) = delete;

  // Called once for each arming, by the owner, at or after the deadline; not called when `cancel` returned true.
  virtual void fire() = 0;

  std::int64_t deadline_ns = base::kNever;

 protected:
  ~BasicTimer() {
    if (entry_ != nullptr) entry_->let_go();
  }

 private:
  friend class BasicTimers<Atomics>;

  // Shared by a timer and a wheel, deleted by the last to let go.
  struct Entry : queue::TimerNode {
    template <class U>
    using atomic = typename Atomics::template atomic<U>;
    static constexpr std::uint64_t kHeld = 1;  // by the timer
    static constexpr std::uint64_t kLinked = 2;  // in the inbox or the wheel
    static constexpr std::uint64_t kArmed = 4;
    static constexpr int kOrderShift = 3;  // above: the number of the arming

    explicit Entry(BasicTimer& owner) : timer{owner} {}
    void let_go() noexcept {
      // [X1] acq_rel: the last of the two deletes, after all that the other did.
      if ((word.fetch_and(~(kHeld | kArmed), base::acq_rel) & kLinked) == 0) delete this;
    }

    BasicTimer& timer;
    BasicTimers<Atomics>* of = nullptr;  // the armer's: in whose wheel it is, while linked
    Entry* next_in = nullptr;  // while in the inbox
    atomic<std::uint64_t> word{kHeld};
    // relaxed (both): written before, and read after, the exchanges of `word` that [X2] to [X4] order.
    atomic<std::int64_t> deadline_ns{0};
    atomic<std::int64_t> place_ns{0};  // where it lies in the wheel, never after its deadline
  };

  Entry* entry_ = nullptr;
};

template <class Atomics = base::StdAtomics>
class BasicTimers {
 public:
  using Timer = BasicTimer<Atomics>;

  BasicTimers() = default;
  BasicTimers(const BasicTimers&) = delete;
  BasicTimers& operator=(const BasicTimers&) = delete;
  // Timers that are still armed will not fire.
  ~BasicTimers() {
    drain();
    wheel_.for_each([this](queue::TimerNode& node) {
      wheel_.remove(node);
      auto& entry = static_cast<Entry&>(node);
      // [X1] acq_rel: as there
      if ((entry.word.fetch_and(~(Entry::kLinked | Entry::kArmed), base::acq_rel) & Entry::kHeld) == 0) delete &entry;
    });
  }

  // True when the owner sleeps too long for it: wake it, or say `nobody_sleeps`.
  bool arm(Timer& timer, std::int64_t deadline_ns) {
    timer.deadline_ns = deadline_ns;
    // relaxed: a number that nobody else has; two armings of which one happens before the other get them in that order.
    const std::uint64_t order = armed_.fetch_add(1, base::relaxed) + 1;
    const std::uint64_t armed = (order << Entry::kOrderShift) | Entry::kHeld | Entry::kLinked | Entry::kArmed;
    bool fresh = false;
    if (timer.entry_ != nullptr && lies_well(*timer.entry_, deadline_ns, armed)) return false;
    Entry*& entry = timer.entry_;
    // [X2] acquire: an entry that the wheel's owner has unlinked ([X3], [X4]) is ours with all its fields.
    if (entry != nullptr && (entry->word.load(base::acquire) & Entry::kLinked) != 0) {
      entry->let_go();
      entry = nullptr;
    }
    if ((fresh = entry == nullptr)) entry = new Entry{timer};
    entry->of = this;
    entry->deadline_ns.store(deadline_ns, base::relaxed);
    entry->place_ns.store(deadline_ns, base::relaxed);
    entry->word.store(armed, base::relaxed);  // relaxed: nobody else has the entry before [X5]
    Entry* seen = inbox_.load(base::relaxed);  // relaxed: a guess; the exchange re-reads it
    do {
      entry->next_in = seen;
      // [X5] seq_cst: releases the entry to [X6], and our look at the sleeper must not come before. Failure: relaxed.
    } while (!inbox_.compare_exchange_weak(seen, entry, base::seq_cst, base::relaxed));
    // relaxed: when to tidy up is a guess
    const bool crowded = fresh && fresh_.fetch_add(1, base::relaxed) + 1 >= tidy_at_.load(base::relaxed);
    return must_wake(crowded ? kAwake + 1 : deadline_ns);
  }

  // True when the timer will not fire any more; false when it has fired, fires now, or was not armed.
  bool cancel(Timer& timer) noexcept {
    if (timer.entry_ == nullptr) return false;
    auto& word = timer.entry_->word;
    // relaxed (both): the word alone decides between us and [X4], and a timer that will not fire has nothing to show.
    for (std::uint64_t seen = word.load(base::relaxed); (seen & Entry::kArmed) != 0;) {
      if (word.compare_exchange_weak(seen, seen & ~Entry::kArmed, base::relaxed, base::relaxed)) return true;
    }
    return false;
  }

  // Owner: fires all that is due at `now_ns`, by deadline and equal ones as they were armed; returns how many.
  int fire_due(std::int64_t now_ns) {
    for (int fired = 0;;) {
      drain();
      queue::TimerNode* node = wheel_.pop_due(now_ns);
      if (node == nullptr) return fired;
      if (Timer* due = claim(static_cast<Entry&>(*node))) {
        ++fired;
        due->fire();
      }
    }
  }

  // Owner: when the first armed timer is due; kNever when there is none.
  std::int64_t next_deadline_ns() {
    drain();
    while (queue::TimerNode* node = wheel_.earliest()) {
      auto& entry = static_cast<Entry&>(*node);
      if (is_in_place(entry, entry.word.load(base::acquire))) return node->due_ns;  // [X3] acquire: as in put_back
      wheel_.remove(*node);
      put_back(entry);
    }
    return base::kNever;
  }

  // Owner: how long it may sleep, kNever for ever; whoever arms an earlier timer from now on wakes it. It may find nothing
  // due then, as cancelled timers stay where they are.
  std::int64_t sleep_until_ns() {
    for (;;) {
      drain();
      const queue::TimerNode* first = wheel_.earliest();
      const std::int64_t until = first == nullptr ? base::kNever : first->due_ns;
      // [X7] seq_cst: shows how long it sleeps, then looks at the inbox once more. Pairs with [X8].
      sleeps_until_ns_.store(until, base::seq_cst);
      // [X6] seq_cst: an armer whose entry this does not see, sees the store above.
      if (inbox_.load(base::seq_cst) == nullptr) return until;
    }
  }

  // There was nobody to wake: the next armer tries again. relaxed: as there, it is a matter of one word.
  void nobody_sleeps() noexcept { sleeps_until_ns_.store(base::kNever, base::relaxed); }

  // How often a timer was armed. relaxed: a statistic.
  std::uint64_t armings() const noexcept { return armed_.load(base::relaxed); }

  // Owner: how many are armed.
  std::size_t size() {
    drain();
    std::size_t n = 0;
    wheel_.for_each([&n](queue::TimerNode& node) {
      // relaxed: exact at quiescence
      n += (static_cast<Entry&>(node).word.load(base::relaxed) & Entry::kArmed) != 0 ? 1 : 0;
    });
    return n;
  }

  // Owner: how many entries lie in the wheel, those of cancelled timers included.
  std::size_t entries() const noexcept { return wheel_.size(); }

 private:
  using Entry = typename Timer::Entry;
  template <class U>
  using atomic = typename Atomics::template atomic<U>;
  static constexpr std::int64_t kAwake = INT64_MIN;  // the owner will look at the inbox before it sleeps
  static constexpr std::int64_t kTidyAt = 64;

  // Arms an entry where it lies, if the owner comes by there in time.
  bool lies_well(Entry& entry, std::int64_t deadline_ns, std::uint64_t armed) noexcept {
    // [X2] acquire: with the word comes the place that its owner gave it ([X3]).
    std::uint64_t seen = entry.word.load(base::acquire);
    TAILRACE_CHECK((seen & Entry::kArmed) == 0,
                   "a timer is armed once, then cancelled or fired, before it is armed again");
    if ((seen & Entry::kLinked) == 0 || entry.of != this) return false;
    if (entry.place_ns.load(base::relaxed) > deadline_ns) return false;
    entry.deadline_ns.store(deadline_ns, base::relaxed);
    // [X2] release: the deadline, and all that `fire` will need, to [X3] and [X4]. Failure: unlinked by now; relaxed.
    return entry.word.compare_exchange_strong(seen, armed, base::release, base::relaxed);
  }

  bool must_wake(std::int64_t deadline_ns) noexcept {
    std::int64_t until = sleeps_until_ns_.load(base::seq_cst);  // [X8] seq_cst: pairs with [X7]
    while (deadline_ns < until) {
      // relaxed (both): who changes the word makes the wake; the owner does not read it.
      if (sleeps_until_ns_.compare_exchange_weak(until, kAwake, base::relaxed, base::relaxed)) return true;
    }
    return false;
  }

  static bool is_in_place(const Entry& entry, std::uint64_t word) noexcept {
    return (word & Entry::kArmed) != 0 && (word >> Entry::kOrderShift) == entry.order &&
           entry.deadline_ns.load(base::relaxed) == entry.due_ns;
  }

  // Takes what came in; what was cancelled meanwhile lies in the wheel all the same, ready to be armed again.
  void drain() {
    // relaxed: who must not miss an entry looks by [X6]
    if (inbox_.load(base::relaxed) == nullptr) return;
    Entry* newest = inbox_.exchange(nullptr, base::acquire);  // [X6] acquire: the entries of every [X5] in the chain
    for (Entry* oldest = queue::oldest_first<Entry, &Entry::next_in>(newest); oldest != nullptr;) {
      Entry& entry = *oldest;
      oldest = entry.next_in;
      wheel_.insert(entry, entry.place_ns.load(base::relaxed),
                    entry.word.load(base::relaxed) >> Entry::kOrderShift);  // relaxed: checked when its place comes
    }
    if (fresh_.load(base::relaxed) >= tidy_at_.load(base::relaxed)) tidy();
  }

  // The timer of an entry that was taken out, if it is to fire now; else the entry goes where it belongs.
  Timer* claim(Entry& entry) {
    std::uint64_t seen = entry.word.load(base::acquire);  // [X3] acquire: as in put_back
    while (is_in_place(entry, seen)) {
      // [X4] acq_rel: against a cancel, one of us wins. Acquires what the armer wrote; releases the entry to the next.
      if (entry.word.compare_exchange_weak(seen, seen & ~(Entry::kLinked | Entry::kArmed), base::acq_rel,
                                           base::acquire)) {
        return &entry.timer;
      }
    }
    put_back(entry);
    return nullptr;
  }

  // An entry that was taken out: to the place of its deadline if it is armed, else unlinked.
  void put_back(Entry& entry) {
    // [X3] acquire: with the word comes the deadline ([X2]).
    for (std::uint64_t seen = entry.word.load(base::acquire);;) {
      const bool armed = (seen & Entry::kArmed) != 0;
      const std::int64_t deadline_ns = entry.deadline_ns.load(base::relaxed);
      if (armed) entry.place_ns.store(deadline_ns, base::relaxed);
      const std::uint64_t wanted = armed ? seen : seen & ~Entry::kLinked;
      // [X3] acq_rel: whoever arms it next sees its place ([X2]), even if the word did not change; or, if it is
      // unlinked, the last of the two deletes ([X1]).
      if (!entry.word.compare_exchange_weak(seen, wanted, base::acq_rel, base::acquire)) continue;
      if (armed) {
        wheel_.insert(entry, deadline_ns, seen >> Entry::kOrderShift);
      } else if ((seen & Entry::kHeld) == 0) {
        delete &entry;
      }
      return;
    }
  }

  // As many new entries have come as there were left the last time: those that no timer holds go.
  void tidy() {
    wheel_.for_each([this](queue::TimerNode& node) {
      auto& entry = static_cast<Entry&>(node);
      if ((entry.word.load(base::relaxed) & Entry::kHeld) != 0) return;  // relaxed: put_back looks again
      wheel_.remove(node);
      put_back(entry);
    });
    fresh_.store(0, base::relaxed);
    tidy_at_.store(std::max(kTidyAt, static_cast<std::int64_t>(wheel_.size())), base::relaxed);
  }

  alignas(base::kCacheLine) atomic<std::uint64_t> armed_{0};
  alignas(base::kCacheLine) atomic<Entry*> inbox_{nullptr};
  atomic<std::int64_t> sleeps_until_ns_{base::kNever};
  // relaxed (both): they decide when to look for entries that nobody holds
  atomic<std::int64_t> fresh_{0};
  atomic<std::int64_t> tidy_at_{kTidyAt};
  alignas(base::kCacheLine) queue::TimerWheel wheel_;  // the owner's
};

using Timer = BasicTimer<base::StdAtomics>;
using Timers = BasicTimers<>;

}  // namespace tailrace::sched
