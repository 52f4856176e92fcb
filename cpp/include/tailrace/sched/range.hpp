// range.hpp -- the engine of the parallel loops: one stealable record for all that is left of a range.
//
// What      `run_range(place, loop, first, last)` for a loop that says how to run a chunk and how to merge two results.
// Why       One code for loops with a result and without, with a fixed chunk and with one that is found out.
// Threads   As parallel.hpp, whose detail this is.
// Checked   tests/cpp/sched/test_parallel.cpp, tests/stress/fork_join.cpp.
#pragma once

#include <algorithm>
#include <cstddef>
#include <exception>
#include <new>
#include <type_traits>
#include <utility>

#include "tailrace/base/clock.hpp"
#include "tailrace/sched/cancel.hpp"
#include "tailrace/sched/place.hpp"

namespace tailrace::sched::detail {

// How many indices make a chunk. A policy is copied to each thread that works on the loop.
struct OneByOne {
  std::size_t next() const noexcept { return 1; }
  void ran() const noexcept {}
};
struct FixedGrain {
  std::size_t grain;
  std::size_t next() const noexcept { return grain; }
  void ran() const noexcept {}
};
// Chunks of a few microseconds: long enough to hide a look at the clock, short enough to share the rest in time.
class TimedGrain {
 public:
  std::size_t next() const noexcept { return grain_; }
  void ran() noexcept {
    const std::int64_t now = base::monotonic_ns();
    const std::int64_t took = now - last_ns_;
    if (last_ns_ != 0 && took < kShortNs) grain_ *= 2;
    if (took > 4 * kShortNs && grain_ > 1) grain_ /= 2;
    last_ns_ = now;
  }

 private:
  static constexpr std::int64_t kShortNs = 2'000;
  std::size_t grain_ = 1;
  std::int64_t last_ns_ = 0;
};

// What all who work on one loop share.
template <class Grain>
class Loop {
 public:
  Loop(Grain grain, CancelToken token) : grain_{grain}, token_{token} {}
  Loop(const Loop&) = delete;
  Loop& operator=(const Loop&) = delete;

  Grain grain() const noexcept { return grain_; }
  // relaxed: a hint; nothing is read on the strength of it.
  bool stopped() const noexcept { return state_.load(base::relaxed) != kGoing || token_.cancelled(); }

  // Somebody's body has thrown; the first one's exception is kept.
  void fail(std::exception_ptr error) noexcept {
    // relaxed: who throws it has joined who stored it
    if (state_.exchange(kFailed, base::relaxed) == kGoing) error_ = std::move(error);
  }
  // When all have ended. relaxed: who failed was joined.
  bool failed() const noexcept { return state_.load(base::relaxed) == kFailed; }
  [[noreturn]] void rethrow() { std::rethrow_exception(std::exchange(error_, nullptr)); }

 private:
  static constexpr std::uint8_t kGoing = 0;
  static constexpr std::uint8_t kFailed = 1;

  const Grain grain_;
  const CancelToken token_;
  base::atomic<std::uint8_t> state_{kGoing};
  std::exception_ptr error_;
};

template <class Work>
typename Work::Value run_halves(Place& place, Work& work, std::size_t first, std::size_t last);

// [next, last) of a range, on the stack of who works on what comes before it.
template <class Work>
struct Rest final : Forked {
  using Value = typename Work::Value;
  static_assert(std::is_nothrow_move_constructible_v<Value>, "a loop's result must be movable without exceptions");

  Rest(Work& of, std::size_t from, std::size_t to) noexcept
      : Forked{&Rest::run_stolen}, work{of}, next{from}, last{to} {}

  // After a steal: the thief's result is merged into `sum`. True: it came back unrun, and is to be run here.
  [[gnu::noinline]] bool join(Place& place, Value* sum) {
    const Joined how = place.wait(*this);
    if (how == Joined::kDone) {
      Value theirs{std::move(value())};
      value().~Value();
      if (sum != nullptr) work.merge(*sum, std::move(theirs));
    }
    return how == Joined::kReturned;
  }
  // An exception passes: nobody else may be at the rest when this frame goes.
  [[gnu::noinline]] void abandon(Place& place, Forked** slot) noexcept {
    if (!place.take_back(slot, this)) join(place, nullptr);
  }

  Work& work;
  std::size_t next, last;

 private:
  static void run_stolen(Forked& self, Place* thief, Place& owner) noexcept {
    auto& me = static_cast<Rest&>(self);
    Joined how = Joined::kReturned;
    if (thief != nullptr) {
      try {
        ::new (static_cast<void*>(me.bytes_)) Value(run_halves(*thief, me.work, me.next, me.last));
        how = Joined::kDone;
      } catch (...) {
        me.work.fail(std::current_exception());
        how = Joined::kFailed;
      }
    }
    Place::finish(me, how, owner);
  }
  Value& value() noexcept { return *std::launder(reinterpret_cast<Value*>(bytes_)); }

  alignas(Value) unsigned char bytes_[sizeof(Value)];  // the thief's result
};

// From the first index on, while the rest may be stolen.
template <class Work>
typename Work::Value run_chunks(Place& place, Work& work, std::size_t first, std::size_t last) {
  typename Work::Value sum = work.none();
  auto grain = work.grain();
  std::size_t until = first + std::min(grain.next(), last - first);
  if (until == last) {
    if (!work.stopped()) work.chunk(place, first, last, sum);
    return sum;
  }
  Rest<Work> rest{work, until, last};
  Forked** slot = place.push(&rest);
  bool pushed = true;
  try {
    for (;;) {
      if (!work.stopped()) [[likely]]
        work.chunk(place, first, until, sum);
      grain.ran();
      if (!place.is_mine(slot, &rest)) [[unlikely]] {
        pushed = false;
        if (!place.take_back_slowly(&rest) && !rest.join(place, &sum)) return sum;
        slot = nullptr;
      }
      first = rest.next;
      until = first + std::min(grain.next(), rest.last - first);
      if (until == rest.last) break;
      rest.next = until;  // it is private: only we see it
      if (slot == nullptr) [[unlikely]] {
        slot = place.push(&rest);
        pushed = true;
      } else {
        place.poll();
      }
    }
    if (slot != nullptr) place.drop(slot);
    pushed = false;
    if (!work.stopped()) work.chunk(place, first, until, sum);
    return sum;
  } catch (...) {
    work.fail(std::current_exception());
    if (pushed) rest.abandon(place, slot);
    throw;
  }
}

// A thief's way: half of it can be stolen again at once, by who was stolen from first of all.
template <class Work>
typename Work::Value run_halves(Place& place, Work& work, std::size_t first, std::size_t last) {
  if (last - first <= work.grain().next()) return run_chunks(place, work, first, last);
  const std::size_t middle = first + (last - first) / 2;
  Rest<Work> upper{work, middle, last};
  Forked** const slot = place.push(&upper);
  auto sum = [&] {
    try {
      return run_chunks(place, work, first, middle);
    } catch (...) {
      upper.abandon(place, slot);
      throw;
    }
  }();
  if (place.take_back(slot, &upper) || upper.join(place, &sum)) {
    work.merge(sum, run_chunks(place, work, middle, last));
  }
  return sum;
}

template <class Work>
typename Work::Value run_range(Place& place, Work& work, std::size_t first, std::size_t last) {
  if (first >= last) return work.none();
  try {
    typename Work::Value sum = run_chunks(place, work, first, last);
    if (!work.failed()) [[likely]]
      return sum;
  } catch (...) {
    work.fail(std::current_exception());  // unless another was first
  }
  work.rethrow();
}

}  // namespace tailrace::sched::detail
