// gate.cpp -- the gated lane: one consumer at a time, every item runs once, and none waits while a worker sleeps that
// may take it.
//
// The lane is sched/lanes.hpp with one priority; the worker is Worker::take_gated, leave_gate, enter_body, leave_body
// and wait_for_work; the watch is Scheduler::watch_loop with one quiet tick.
#include "tailrace/sched/gate.hpp"

#include <array>
#include <utility>

#include "prove.hpp"
#include "tailrace/queue/mpsc_queue.hpp"
#include "tailrace/sched/idle.hpp"

namespace {

using namespace tailrace::model;
using Gate = tailrace::sched::BasicGate<ModelAtomics>;

enum class Body : std::uint8_t { kNone, kShort, kOpen, kOpenEndless, kShortEndless };
enum class Bug : std::uint8_t { kNone, kNoLookAfterRelease, kNoLeftover, kNoticeBeforeOpen, kPopsWhileOpen, kNoWatch };

struct Item {
  Var<Item*> next{nullptr};
  Body body = Body::kNone;
  int times = 0;
};

template <int kItems, Bug kBug>
struct Lane {
  tailrace::queue::MpscQueue<Item, ModelAtomics> queue;
  Gate gate;
  Atomic<bool> leftover{false};
  Var<int> consumers{0};  // touched by whoever acts as the consumer: two at once are a data race
  tailrace::sched::BasicIdle<ModelAtomics> idle{2};
  std::array<Item, kItems> items{};
  bool goes_away = false, gone = false;  // the first worker that leaves the gate takes up an endless ungated body
  Atomic<bool> watching{false};
  Atomic<std::uint32_t> watch_word{0};

  void push(int i, Body body) {
    items[static_cast<std::size_t>(i)].body = body;
    queue.push(&items[static_cast<std::size_t>(i)]);
    if (gate.can_acquire()) idle.notify();
  }
  Item* pop() {
    consumers = 1;
    return queue.pop();
  }
  bool has_items() const { return leftover.load(std::memory_order_seq_cst) || !queue.empty(); }
  void note_leftover() {
    consumers = 1;
    const bool left = kBug != Bug::kNoLeftover && queue.turned_round();
    if (left != leftover.load(std::memory_order_relaxed)) leftover.store(left, std::memory_order_seq_cst);
  }
  bool sees_work() const { return has_items() && gate.can_acquire(); }

  void keep_watch() {
    if (!watching.load(std::memory_order_seq_cst) && !watching.exchange(true, std::memory_order_seq_cst)) {
      watch_word.fetch_add(1, std::memory_order_release);
      ModelAtomics::unpark(watch_word, 1);
    }
  }
  void watch() {
    for (std::uint64_t last = 0;;) {
      const std::uint32_t word = watch_word.load(std::memory_order_acquire);
      if (watching.load(std::memory_order_relaxed)) {
        const std::uint64_t closed = gate.closed_body();
        if (closed != 0 && closed == last && gate.force_open(closed) && has_items()) idle.notify();
        last = closed;
        if (gate.can_acquire()) {
          watching.store(false, std::memory_order_seq_cst);
          if (!gate.can_acquire()) watching.store(true, std::memory_order_relaxed);
        }
      }
      ModelAtomics::park(watch_word, word, watching.load(std::memory_order_relaxed) ? 1 : -1);
    }
  }

  int left(int pushed) const {
    int n = 0;
    for (int i = 0; i < pushed; ++i) n += items[static_cast<std::size_t>(i)].times == 0 ? 1 : 0;
    return n;
  }
};

template <int kItems, Bug kBug>
struct Worker {
  Lane<kItems, kBug>& lane;
  int id;
  Gate::Ticket ticket = 0;
  bool inside = false, searching = false;

  void leave_gate() {
    if (!inside) return;
    inside = false;
    if (ticket == 0) return;
    lane.note_leftover();
    lane.gate.release(ticket);
    ticket = 0;
    if (kBug != Bug::kNoLookAfterRelease && lane.has_items()) lane.idle.notify();
  }
  Item* take() {
    if (!inside) {
      if (!lane.has_items() || (ticket = lane.gate.try_acquire()) == 0) return nullptr;
      if (kBug != Bug::kNoWatch) lane.keep_watch();
      found_work();
      inside = true;
    } else if (ticket == 0 && kBug != Bug::kPopsWhileOpen) {
      if ((ticket = lane.gate.try_acquire()) == 0) return leave_gate(), nullptr;
    }
    Item* item = lane.pop();
    if (item == nullptr) leave_gate();
    return item;
  }
  void found_work() {
    if (!searching) return;
    searching = false;
    if (lane.idle.end_search() && lane.sees_work()) lane.idle.notify();
  }
  bool run(Item& item) {
    check(++item.times == 1, "an item ran twice");
    const bool open = item.body == Body::kOpen || item.body == Body::kOpenEndless;
    if (ticket != 0) {
      lane.note_leftover();
      const bool early = kBug == Bug::kNoticeBeforeOpen && lane.gate.can_acquire();
      lane.gate.enter_body(ticket, open);
      if (open && (kBug != Bug::kNoticeBeforeOpen || early) && lane.has_items()) lane.idle.notify();
    }
    if (item.body == Body::kOpenEndless || item.body == Body::kShortEndless) return false;
    if (ticket != 0 && !lane.gate.leave_body(ticket)) ticket = 0;
    return true;
  }
  void loop() {
    for (;;) {
      const bool was_inside = inside;
      Item* item = inside ? take() : nullptr;
      if (was_inside && !inside && lane.goes_away && !std::exchange(lane.gone, true)) return;
      if (item == nullptr) item = take();
      if (item != nullptr) {
        found_work();
        if (!run(*item)) return;
        continue;
      }
      if (!searching) searching = lane.idle.begin_search(2);
      if (searching) {
        if (lane.sees_work()) continue;
        searching = false;
        lane.idle.end_search();
      }
      lane.idle.prepare_park(id);
      if (lane.sees_work()) {
        lane.idle.cancel_park(id);
        searching = true;
        continue;
      }
      searching = lane.idle.park(id, -1);
    }
  }
};

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
