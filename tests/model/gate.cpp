// gate.cpp -- the gated lane: one consumer at a time, every item runs once, and none waits while a worker sleeps that
// may take it.
#include "gated_lane.hpp"
#include "prove.hpp"

namespace {

using namespace tailrace::model;
using namespace tailrace::model::gated;

// Two workers and a producer whose items have these bodies; a watch if asked for.
template <Bug kBug, bool kWatched, Body... kBodies>
struct Gated {
  static constexpr int kItems = sizeof...(kBodies);
  static constexpr int kThreads = kWatched ? 4 : 3;
  Lane<kItems, kBug> lane;
  void thread(int i) {
    if (i < 3) {
      Worker<kItems, kBug> worker{lane, i - 1};
      return worker.loop();
    }
    if (i == 4) return lane.watch();
    int n = 0;
    (lane.push(n++, kBodies), ...);
  }
  bool may_sleep() const { return lane.left(kItems) == 0; }
  void finally() { check(lane.left(kItems) == 0, "an item was lost"); }
};

template <Bug kBug = Bug::kNone>
using Opens = Gated<kBug, false, Body::kOpen, Body::kOpen, Body::kShort>;
template <Bug kBug = Bug::kNone>
using Shorts = Gated<kBug, false, Body::kShort, Body::kShort>;
template <Bug kBug = Bug::kNone>
using TakenOver = Gated<kBug, false, Body::kOpenEndless, Body::kShort>;
template <Bug kBug = Bug::kNone>
using Watched = Gated<kBug, true, Body::kShortEndless, Body::kShort>;

template <Bug kBug = Bug::kNone>
struct GoesAway : Gated<kBug, false, Body::kShort, Body::kShort> {
  GoesAway() { this->lane.goes_away = true; }
};

// The watch goes to sleep while a worker enters: one of them must notice the other.
struct WatchDozes {
  static constexpr int kThreads = 2;
  Gate gate;
  Lane<1, Bug::kNone> lane;
  WatchDozes() { lane.watching.store(true, std::memory_order_relaxed); }
  void thread(int i) {
    if (i == 2) return lane.watch();
    const Gate::Ticket ticket = lane.gate.try_acquire();
    lane.keep_watch();
    lane.gate.enter_body(ticket, false);
  }
  bool may_sleep() const { return lane.gate.can_acquire(); }
  void finally() {}
};

TEST(every_item_of_the_gated_lane_runs_once_behind_one_permit) {
  prove<Shorts<>>("short bodies, two workers", {.preemptions = 3, .stale_loads = 0});
  prove<GoesAway<>>("the holder leaves for an endless ungated body", {.preemptions = 3, .stale_loads = 0});
  prove<Opens<>>("open bodies, two workers", {.preemptions = 2, .stale_loads = 1});
  prove<Opens<>>("open bodies, two workers", {.random = 50'000});
}

TEST(an_open_body_without_end_lets_the_next_item_in) {
  prove<TakenOver<>>("an endless open body", {.preemptions = 3, .stale_loads = 0});
}

TEST(a_body_that_was_thought_short_lets_the_next_item_in_when_the_watch_has_seen_it_twice) {
  prove<WatchDozes>("the watch falls asleep while a worker enters", {.preemptions = 4, .stale_loads = 3});
  prove<Watched<>>("an endless body thought short, and the watch", {.preemptions = 2, .stale_loads = 0});
  prove<Watched<>>("an endless body thought short, and the watch", {.random = 50'000});
}

TEST(the_check_of_the_gate_catches_its_mutants) {
  const Bounds small{.preemptions = 3, .stale_loads = 1};
  auto weakened = [&](const char* text, Order order) {
    Bounds bounds = small;
    bounds.mutants = {{text, order}};
    return bounds;
  };
  auto random = [&](const char* text, Order order) {
    Bounds bounds{.random = 100'000};
    bounds.mutants = {{text, order}};
    return bounds;
  };
  catches<GoesAway<Bug::kNoLookAfterRelease>>("no look after the release", small);
  catches<TakenOver<Bug::kNoLeftover>>("what was turned round is not told", small);
  catches<TakenOver<Bug::kNoticeBeforeOpen>>("the lane is looked at before the permit is open", small);
  catches<Opens<Bug::kPopsWhileOpen>>("a holder that lost its permit goes on popping", small);
  catches<Watched<Bug::kNoWatch>>("the watch is not called", {.preemptions = 1, .stale_loads = 0});
  catches<Shorts<>>("the release of the permit only releases",
                    weakened("word_.store(with(ticket, kFree), base::seq_cst)", std::memory_order_release));
  catches<Shorts<>>("the release of the permit is relaxed",
                    weakened("word_.store(with(ticket, kFree), base::seq_cst)", std::memory_order_relaxed));
  catches<Shorts<>>("a pusher reads the permit acquire",
                    weakened("takeable(word_.load(base::seq_cst))", std::memory_order_acquire));
  catches<TakenOver<>>("opening only releases",
                       weakened("return word_.store(with(ticket, kOpen), base::seq_cst)", std::memory_order_release));
  catches<Opens<>>("taking the permit acquires nothing",
                   weakened("compare_exchange_weak(word, mine", std::memory_order_relaxed));
  catches<Opens<>>("opening is relaxed",
                   weakened("return word_.store(with(ticket, kOpen), base::seq_cst)", std::memory_order_relaxed));
  catches<Watched<>>("the watch opens acq_rel", random("compare_exchange_strong(closed", std::memory_order_acq_rel));
  catches<WatchDozes>("the permit is taken acq_rel",
                      weakened("compare_exchange_weak(word, mine", std::memory_order_acq_rel));
  catches<Watched<>>("closing is relaxed",
                     random("word_.store(with(ticket, kClosed), base::release)", std::memory_order_relaxed));
}

}  // namespace
