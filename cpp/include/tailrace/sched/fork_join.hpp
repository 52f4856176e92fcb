// fork_join.hpp -- two calls that may run at once, and the way in from any thread.
//
// What      `fork2(place, f, g)` runs both and returns when both have; `fork_join(scheduler, fn)` gives the calling
//           thread a place and calls `fn(place)` there, while workers steal what it forks.
// Why       The cheapest parallel call: the record of `g` lies on this stack, and unless a thief takes it `g` is called
//           directly from here, so that it costs a few nanoseconds and the compiler may inline it.
// Threads   `fork2` on the thread that the place belongs to. Bodies take the `Place&` where they run, or nothing: a body
//           that forks must fork at the place it is given. `fork_join` on any thread.
//           Neither f nor g may wait for the other: they may run one after the other, in any order.
// Source    Blumofe, Leiserson 1999 (fully strict programs); the waiting rule is that of place.hpp.
// Checked   tests/cpp/sched/test_fork_join.cpp, tests/stress/fork_join.cpp.
#pragma once

#include <exception>
#include <memory>
#include <new>
#include <type_traits>
#include <utility>

#include "tailrace/sched/place.hpp"
#include "tailrace/sched/scheduler.hpp"

namespace tailrace::sched {

namespace detail {

template <class Body>
[[gnu::always_inline]] inline decltype(auto) call(Body& body, Place& place) {
  if constexpr (std::is_invocable_v<Body&, Place&>) {
    return body(place);
  } else {
    return body();
  }
}

// The second call of a fork2.
template <class Body>
class Child final : public Forked {
 public:
  explicit Child(Body& body) noexcept : Forked{&Child::run_stolen}, body_{body} {}

  // After it was stolen.
  [[gnu::noinline]] void join(Place& place) {
    const Joined how = place.wait(*this);
    if (how == Joined::kReturned) return static_cast<void>(call(body_, place));
    if (how != Joined::kFailed) return;
    const std::exception_ptr error = take_error();
    std::rethrow_exception(error);
  }
  // The first call threw: the second runs all the same, and what it throws is dropped.
  [[gnu::noinline]] void finish(Place& place, Forked** slot) noexcept {
    Joined how = Joined::kReturned;
    if (!place.take_back(slot, this)) how = place.wait(*this);
    if (how == Joined::kFailed) take_error();
    if (how != Joined::kReturned) return;
    try {
      call(body_, place);
    } catch (...) {  // the first is the one that is thrown
    }
  }

 private:
  static void run_stolen(Forked& self, Place* thief, Place& owner) noexcept {
    auto& me = static_cast<Child&>(self);
    Joined how = thief == nullptr ? Joined::kReturned : Joined::kDone;
    if (thief != nullptr) {
      try {
        call(me.body_, *thief);
      } catch (...) {
        ::new (static_cast<void*>(me.error_)) std::exception_ptr{std::current_exception()};
        how = Joined::kFailed;
      }
    }
    Place::finish(me, how, owner);
  }

  std::exception_ptr take_error() noexcept {
    auto* stored = std::launder(reinterpret_cast<std::exception_ptr*>(me_error()));
    std::exception_ptr error = std::move(*stored);
    stored->~exception_ptr();
    return error;
  }
  unsigned char* me_error() noexcept { return error_; }

  Body& body_;
  alignas(std::exception_ptr) unsigned char error_[sizeof(std::exception_ptr)];  // made when thrown
};

}  // namespace detail

// Runs `f` here, and `g` here or at a thief's place. If one throws, the other runs to its end all the same; then the
// exception is thrown here, that of `f` if both threw.
template <class F, class G>
void fork2(Place& place, F&& f, G&& g) {
  detail::Child<std::remove_reference_t<G>> child{g};
  Forked** const slot = place.push(&child);
  try {
    detail::call(f, place);
  } catch (...) {
    child.finish(place, slot);
    throw;
  }
  if (place.take_back(slot, &child)) [[likely]] {
    detail::call(g, place);
  } else {
    child.join(place);
  }
}

enum class With : std::uint8_t {
  kWorkers,  // workers may steal what the caller forks
  kNobody,  // the caller alone runs all of it
};

// Calls `fn(place)` on this thread and returns its result. The scheduler's workers steal what is forked at the place. A
// thread that comes when all guests' places are taken works alone, as with kNobody. Returns when `fn` has.
template <class Fn>
decltype(auto) fork_join(Scheduler& scheduler, Fn&& fn, With with = With::kWorkers) {
  Places& places = scheduler.places();
  Place* guest = with == With::kWorkers ? places.enter() : nullptr;
  if (guest == nullptr) {
    const auto alone = std::make_unique<Place>(places, Places::kAlone, false);
    return std::forward<Fn>(fn)(*alone);
  }
  scheduler.ensure_started();
  struct Leave {
    Places& places;
    Place& place;
    ~Leave() { places.leave(place); }
  } leave{places, *guest};
  return std::forward<Fn>(fn)(*guest);
}

}  // namespace tailrace::sched
