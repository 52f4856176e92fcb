// open_lane.cpp -- the open lane and the affine lane: every item runs once, nobody sleeps while one is left that he may
// run, and whoever takes a stack over tells the others what he has left in his deque.
//
// The lanes, the deque and idle are the shipped ones; the worker is Worker::find_work and Worker::wait_for_work with the
// spinning cut to one look.
#include "tailrace/sched/open_lane.hpp"

#include <array>

#include "prove.hpp"
#include "tailrace/queue/mpsc_queue.hpp"
#include "tailrace/queue/steal_deque.hpp"
#include "tailrace/sched/idle.hpp"

namespace {

using namespace tailrace::model;
using tailrace::queue::Steal;

enum class Bug : std::uint8_t { kNone, kKeepsQuiet, kReadsLinkLate, kForgetsOthersDeques, kForgetsInbox, kAnyWake };

struct Item {
  Var<Item*> next{nullptr};
  Var<int> content{0};
  int times = 0;
  bool endless = false;
};

template <Bug kBug>
struct Lane {
  using Open = tailrace::sched::BasicOpenLane<Item, 1, ModelAtomics>;
  using Deque = tailrace::queue::StealDeque<Item*, ModelAtomics>;
  Open open;
  std::array<Deque, 2> deques{Deque{2}, Deque{2}};
  std::array<tailrace::queue::MpscQueue<Item, ModelAtomics>, 2> inboxes;
  tailrace::sched::BasicIdle<ModelAtomics> idle{2};
  std::array<Item, 3> items{};
  int left = 0;

  void push(std::size_t i) {
    items[i].content = 7;
    open.push(&items[i], 0);
    idle.notify();
  }
  void push_to(std::size_t worker, std::size_t i) {
    items[i].content = 7;
    inboxes[worker].push(&items[i]);
    if (kBug == Bug::kAnyWake) {
      idle.notify();
    } else {
      idle.notify_one(static_cast<int>(worker));
    }
  }

  bool sees_work(std::size_t me) const {
    if (kBug != Bug::kForgetsInbox && !inboxes[me].empty()) return true;
    if (!open.used()) return false;
    if (open.sees(0)) return true;
    for (std::size_t i = 0; i < 2; ++i) {
      if ((kBug != Bug::kForgetsOthersDeques || i == me) && !deques[i].empty()) return true;
    }
    return false;
  }
  Item* take(std::size_t me) {
    if (Item* item = inboxes[me].pop()) return item;
    if (!open.used()) return nullptr;
    bool shared = false;
    Item* item = nullptr;
    if (kBug == Bug::kReadsLinkLate) {
      if (!deques[me].pop(item) && (item = open.take_pushed(0)) != nullptr) {
        while (true) {
          deques[me].push(item);
          Item* older = item->next;
          if (older == nullptr) break;
          item = older;
          shared = true;
        }
        if (!deques[me].pop(item)) item = nullptr;
      }
    } else {
      item = open.take(0, deques[me], &shared);
    }
    if (shared && kBug != Bug::kKeepsQuiet) idle.notify();
    if (item != nullptr) return item;
    Steal how{};
    while ((how = deques[1 - me].steal(item)) == Steal::kLost) ModelAtomics::pause();
    return how == Steal::kTaken ? item : nullptr;
  }
  void work(std::size_t me) {
    for (bool searching = false;;) {
      if (Item* item = take(me)) {
        if (searching) {
          searching = false;
          if (idle.end_search() && sees_work(me)) idle.notify();
        }
        check(item->content == 7, "the item's content is old");
        check(++item->times == 1, "an item ran twice");
        --left;
        if (item->endless) return;
        item->next = nullptr;  // it is its owner's again
        continue;
      }
      if (!searching) searching = idle.begin_search(2);
      if (searching) {
        if (sees_work(me)) continue;
        searching = false;
        idle.end_search();
      }
      idle.prepare_park(static_cast<int>(me));
      if (sees_work(me)) {
        idle.cancel_park(static_cast<int>(me));
        searching = true;
        continue;
      }
      searching = idle.park(static_cast<int>(me), -1);
    }
  }
  bool may_sleep() const { return left == 0; }
  void finally() { check(left == 0, "an item was lost"); }
};

// A producer of two items and two workers; the first item may have a body without end.
template <Bug kBug = Bug::kNone, bool kEndless = false>
struct Pushed : Lane<kBug> {
  static constexpr int kThreads = 3;
  Pushed() {
    this->left = 2;
    this->items[0].endless = kEndless;
  }
  void thread(int i) {
    if (i < 3) return this->work(static_cast<std::size_t>(i - 1));
    this->push(0);
    this->push(1);
  }
};

// Two items lie in the lane when the workers start: whoever takes them over has one without end.
template <Bug kBug = Bug::kNone>
struct TakenOver : Lane<kBug> {
  static constexpr int kThreads = 2;
  TakenOver() {
    this->left = 2;
    this->items[0].endless = true;
    this->push(0);
    this->push(1);
  }
  void thread(int i) { this->work(static_cast<std::size_t>(i - 1)); }
};

// One item for each worker, and one for both.
template <Bug kBug = Bug::kNone>
struct Affine : Lane<kBug> {
  static constexpr int kThreads = 3;
  Affine() { this->left = 3; }
  void thread(int i) {
    if (i < 3) return this->work(static_cast<std::size_t>(i - 1));
    this->push_to(1, 0);
    this->push_to(0, 1);
    this->push(2);
  }
};

TEST(an_open_item_runs_once_and_waits_for_nobody_while_a_worker_sleeps) {
  prove<Pushed<>>("a producer, two workers", {.preemptions = 2, .stale_loads = 2});
  prove<Pushed<Bug::kNone, true>>("an endless body, two workers", {.preemptions = 3, .stale_loads = 0});
  prove<TakenOver<>>("two items are taken over at once", {.preemptions = 3, .stale_loads = 1});
  prove<Pushed<Bug::kNone, true>>("an endless body, two workers", {.random = 50'000});
}

TEST(an_item_for_one_worker_wakes_that_worker) {
  prove<Affine<>>("two affine items and an open one", {.preemptions = 2, .stale_loads = 1});
  prove<Affine<>>("two affine items and an open one", {.random = 50'000});
}

TEST(the_check_of_the_open_lane_catches_its_mutants) {
  const Bounds small{.preemptions = 3, .stale_loads = 1};
  auto weakened = [&](const char* text, Order order) {
    Bounds bounds = small;
    bounds.mutants = {{text, order}};
    return bounds;
  };
  catches<Pushed<Bug::kKeepsQuiet, true>>("who takes a stack over tells nobody", small);
  catches<TakenOver<Bug::kReadsLinkLate>>("the link is read after the node was given to thieves", small);
  catches<Pushed<Bug::kForgetsOthersDeques, true>>("a parker looks at no other's deque", small);
  catches<Affine<Bug::kForgetsInbox>>("a parker does not look at its inbox", small);
  catches<Affine<Bug::kAnyWake>>("an affine item wakes anybody", small);
  catches<Pushed<>>("the mark of use only releases",
                    weakened("used_.store(true, base::seq_cst)", std::memory_order_release));
  catches<Pushed<>>("the mark of use is read relaxed",
                    weakened("return used_.load(base::seq_cst)", std::memory_order_relaxed));
  catches<Pushed<>>("who takes the stack acquires nothing",
                    weakened("head_.exchange(nullptr, base::acquire)", std::memory_order_relaxed));
  catches<Affine<>>("the targeted wake reads the bit acquire",
                    weakened("(sleepers_[group(id)].load(base::seq_cst) & mask(id)) == 0", std::memory_order_acquire));
}

}  // namespace
