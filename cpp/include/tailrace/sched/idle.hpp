// idle.hpp -- who sleeps, who looks for work, and how nobody is forgotten.
//
// What      One bit per sleeping worker, a count of searching ones, and a parking word for each.
// Why       A wake costs the waker 6 us and the woken 22 us (docs/measuring.md): wake one worker at a time, and only
//           when no other is already looking. A wake that is not made must never be one that was needed.
//           And the many that publish do not pay for the few that sleep: where the system lets one thread order all
//           (base/membarrier.hpp), a pusher with nobody to wake makes one store and one load, both cheap.
// Threads   must_notify, notify, notify_one: any thread. The rest: the worker `id` itself.
// Source    The argument against lost wake-ups is docs/idle.md; tokio's and Go's schedulers use the same searching rule.
// Checked   tests/model/idle.cpp (a producer and two workers, with mutants), tests/stress/scheduler.cpp.
#pragma once

#include <array>
#include <cstdint>
#include <memory>

#include "tailrace/base/atomic.hpp"
#include "tailrace/base/cache_line.hpp"
#include "tailrace/sched/wake_cost.hpp"

namespace tailrace::sched {

inline constexpr int kMaxWorkers = 256;

template <class Atomics = base::StdAtomics>
class BasicIdle {
  template <class U>
  using atomic = typename Atomics::template atomic<U>;

 public:
  // `asymmetric`: pushers may publish by release alone, and who goes to sleep pays for it with a membarrier.
  explicit BasicIdle(int workers, bool asymmetric = false)
      : groups_{(workers + 63) / 64},
        asymmetric_{asymmetric},
        parking_{new Parking[static_cast<std::size_t>(workers)]} {}

  bool asymmetric() const noexcept { return asymmetric_; }

  // For who has made work visible by release alone: false when nobody sleeps, and there is nothing else to do. If true,
  // order that publication (seq_cst), then `notify`. Only where `asymmetric`.
  bool must_notify() const noexcept {
    Atomics::keep_order();
    for (int g = 0; g < groups_; ++g) {
      // relaxed: [E8] orders this load and the publication before it, against [E4] and the sleeper's look.
      if (sleepers_[static_cast<std::size_t>(g)].load(base::relaxed) != 0) return true;
    }
    return false;
  }

  // Called after work was made visible by a seq_cst operation. Wakes one sleeper unless somebody searches already.
  bool notify() noexcept {
    // [E1] seq_cst: in the single order this load follows the publication of the work; a searcher that it still
    // counts will check every queue again after [E3].
    if (searching_.load(base::seq_cst) > 0) return false;
    for (int g = 0; g < groups_; ++g) {
      // [E2] seq_cst: pairs with [E4]: either we see the sleeper's bit, or it sees our work when it checks again.
      std::uint64_t asleep = sleepers_[static_cast<std::size_t>(g)].load(base::seq_cst);
      while (asleep != 0) {
        const int bit = __builtin_ctzll(asleep);
        if (try_wake(g, bit)) return true;
        asleep &= asleep - 1;
      }
    }
    return false;
  }

  // As notify, for work that only worker `id` can do: wakes it if it sleeps, whoever else searches.
  bool notify_one(int id) noexcept {
    // [E2] seq_cst: as in notify
    if ((sleepers_[group(id)].load(base::seq_cst) & mask(id)) == 0) return false;
    return try_wake(id / 64, id % 64);
  }

  // A worker starts to look at other workers' queues. At most half of them do so at once.
  bool begin_search(int workers) noexcept {
    if (searching_.load(base::relaxed) * 2 >= workers) return false;  // relaxed: a limit, not a protocol
    // [E3] seq_cst: as below
    searching_.fetch_add(1, base::seq_cst);
    return true;
  }

  // Returns true when the last searcher has left: it must check for further work and notify for it.
  bool end_search() noexcept {
    // [E3] seq_cst: whoever skipped a wake because of us did so before this; our next look sees its work.
    // Below one: our waker has yet to count us (see try_wake), and its work is ours to look for all the same.
    return searching_.fetch_sub(1, base::seq_cst) <= 1;
  }

  // Shows the worker as a sleeper. It must now check every queue once more, then park or cancel_park.
  void prepare_park(int id) noexcept {
    Parking& mine = parking_[static_cast<std::size_t>(id)];
    if (mine.wake_is_due) {
      // [E7] acquire: the waker that chose us as we left writes before the next sleep begins, not into it: it would
      // end that sleep with our bit still shown, and the next waker would spend its wake on a worker that is awake.
      while (mine.word.load(base::acquire) == kAsleep) Atomics::pause();
      mine.wake_is_due = false;
    }
    // relaxed: only this worker and, after [E4], one waker write the word.
    mine.word.store(kAsleep, base::relaxed);
    // [E4] seq_cst: pairs with [E2]; also releases the word above to the waker.
    sleepers_[group(id)].fetch_or(mask(id), base::seq_cst);
    // [E8] Every pusher that did not see our bit in `must_notify` published before this; our look will see it. Forbidden
    // since we registered? Then a nap (which a waker may end): no store takes a millisecond to arrive.
    if (asymmetric_ && !Atomics::membarrier()) Atomics::park(mine.word, kAsleep, 1'000'000);
  }

  // For who has read a flag that pushers ask after their push: each push whose pusher did not see it is visible to us now.
  void order_pushers() const noexcept {
    // [E8] As in prepare_park, with the flag in place of the bit.
    if (!asymmetric_ || Atomics::membarrier()) return;
    const atomic<std::uint32_t> nobody{0};
    Atomics::park(nobody, 0, 1'000'000);
  }

  // Work was found after all. From here on this worker counts as searching: it was chosen by a waker, or it counts
  // itself, as whoever skipped a wake because of its last search relies on it for all the work that it now sees.
  void cancel_park(int id) noexcept {
    if (!take_back(id)) searching_.fetch_add(1, base::seq_cst);  // [E3] seq_cst: as in begin_search
  }

  // Sleeps until chosen by a waker (true: we count as searching) or until the time is up (false). < 0: no limit.
  bool park(int id, std::int64_t timeout_ns) {
    auto& word = parking_[static_cast<std::size_t>(id)].word;
    // [E7] acquire: pairs with the release in [E6].
    while (word.load(base::acquire) == kAsleep) {
      Atomics::park(word, kAsleep, timeout_ns);
      if (timeout_ns >= 0 && word.load(base::acquire) == kAsleep) return take_back(id);  // [E7] as above
    }
    return true;
  }

  // Wakes every sleeper, for stop.
  void notify_all() noexcept {
    for (int g = 0; g < groups_; ++g) {
      for (int bit = 0; bit < 64; ++bit) {
        // [E2] seq_cst: as in notify
        if (((sleepers_[static_cast<std::size_t>(g)].load(base::seq_cst) >> bit) & 1) != 0) try_wake(g, bit);
      }
    }
  }

  // When the worker was last chosen by a waker. The worker itself, after `park` has returned true.
  std::int64_t chosen_ns(int id) const noexcept { return parking_[static_cast<std::size_t>(id)].chosen_ns; }
  WakeCost& cost() noexcept { return cost_; }

  int searching() const noexcept { return searching_.load(base::relaxed); }  // relaxed: a statistic, as is the next
  int sleeping() const noexcept {
    int asleep = 0;
    for (const auto& group : sleepers_) asleep += __builtin_popcountll(group.load(base::relaxed));
    return asleep;
  }

 private:
  static constexpr std::uint32_t kAwake = 0;
  static constexpr std::uint32_t kAsleep = 1;

  struct alignas(base::kCacheLine) Parking {
    atomic<std::uint32_t> word{kAwake};
    bool wake_is_due = false;  // the owner's: a waker has taken our bit and will write the word
    std::int64_t chosen_ns = 0;  // the waker's, before it writes the word
  };

  static std::size_t group(int id) noexcept { return static_cast<std::size_t>(id / 64); }
  static std::uint64_t mask(int id) noexcept { return std::uint64_t{1} << (id % 64); }

  // True when a waker had already chosen us; it may still be about to set the word.
  bool take_back(int id) noexcept {
    // [E5] acq_rel: takes the bit back, or learns that [E6] took it.
    const bool chosen = (sleepers_[group(id)].fetch_and(~mask(id), base::acq_rel) & mask(id)) == 0;
    parking_[static_cast<std::size_t>(id)].wake_is_due = chosen;
    return chosen;
  }

  bool try_wake(int g, int bit) noexcept {
    const std::uint64_t one = std::uint64_t{1} << bit;
    // [E6] acq_rel: only the waker that clears the bit wakes; acquires the word set before [E4].
    if ((sleepers_[static_cast<std::size_t>(g)].fetch_and(~one, base::acq_rel) & one) == 0) return false;
    // Counted only once it is certain that somebody wakes: a count without a searcher would swallow wakes.
    searching_.fetch_add(1, base::seq_cst);  // [E3] seq_cst: the woken one searches; others need not wake more
    Parking& chosen = parking_[static_cast<std::size_t>(g * 64 + bit)];
    const std::int64_t now = Atomics::now_ns();
    chosen.chosen_ns = now;
    chosen.word.store(kAwake, base::release);  // [E6] release: pairs with [E7]
    Atomics::unpark(chosen.word, 1);
    cost_.add_call(Atomics::now_ns() - now);
    return true;
  }

  const int groups_;
  const bool asymmetric_;
  alignas(base::kCacheLine) atomic<std::int32_t> searching_{0};
  alignas(base::kCacheLine) std::array<atomic<std::uint64_t>, kMaxWorkers / 64> sleepers_{};
  std::unique_ptr<Parking[]> parking_;
  WakeCost cost_;
};

using Idle = BasicIdle<>;

}  // namespace tailrace::sched
