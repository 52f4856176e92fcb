// permits.cpp -- a lane of width n: never more than n items inside, none left when the carriers are idle.
//
// The pairing is the shipped one; the carriers go through the shipped open lane to two workers, as Scheduler::push does it
// with them, but for the parking.
#include "tailrace/sched/permits.hpp"

#include <array>
#include <utility>

#include "prove.hpp"
#include "tailrace/queue/steal_deque.hpp"
#include "tailrace/sched/open_lane.hpp"

namespace {

using namespace tailrace::model;

enum class Bug : std::uint8_t { kNone, kGivesBackEarly, kForgetsToPair };

struct Item {
  Var<Item*> next{nullptr};
  Var<int> content{0};
  int times = 0;
};
struct Carrier {
  Var<Carrier*> next{nullptr};
  Var<Item*> item{nullptr};
};

using Permits = tailrace::sched::BasicPermits<Item, Carrier, ModelAtomics>;

// Who finds another thread pairing leaves; that one does not look whether more has come.
struct PairsOnce {
  tailrace::queue::MpscQueue<Item, ModelAtomics> waiting;
  tailrace::queue::MpscQueue<Carrier, ModelAtomics> idle;
  Atomic<int> busy{0};
  Item* spare = nullptr;
  void push(Item* item) { waiting.push(item); }
  void give_back(Carrier* carrier) { idle.push(carrier); }
  template <class Serve>
  void pair(Serve serve) {
    if (busy.exchange(1, std::memory_order_acq_rel) != 0) return;
    while (Item* item = spare != nullptr ? std::exchange(spare, nullptr) : waiting.pop()) {
      Carrier* carrier = idle.pop();
      if (carrier == nullptr) {
        spare = item;
        break;
      }
      serve.dispatch(carrier, item);
    }
    busy.store(0, std::memory_order_release);
  }
  template <class Serve>
  Item* next(Serve) {
    return nullptr;
  }
};

template <int kWidth, Bug kBug = Bug::kNone, class Pairing = Permits>
struct Narrow {
  static constexpr int kThreads = 3;
  static constexpr int kItems = 3;
  Pairing permits;
  tailrace::sched::BasicOpenLane<Carrier, 1, ModelAtomics> open;
  std::array<tailrace::queue::StealDeque<Carrier*, ModelAtomics>, 2> deques{
      tailrace::queue::StealDeque<Carrier*, ModelAtomics>{4}, tailrace::queue::StealDeque<Carrier*, ModelAtomics>{4}};
  std::array<Item, kItems> items{};
  std::array<Carrier, kWidth> carriers{};
  Atomic<int> done{0};
  int inside = 0;

  struct Serve {
    Narrow& lane;
    bool ends(Item*) { return false; }
    void dispatch(Carrier* carrier, Item* item) {
      carrier->item = item;
      lane.open.push(carrier, 0);
    }
  };

  Narrow() {
    for (Carrier& carrier : carriers) permits.give_back(&carrier);
  }
  void run(Item* item) {
    check(++inside <= kWidth, "more inside than the lane is wide");
    check(item->content == 7, "the item's content is old");
    check(++item->times == 1, "an item ran twice");
    done.fetch_add(1, std::memory_order_relaxed);  // a step inside: others may come in here
    --inside;
  }
  void work(std::size_t me) {
    while (done.load(std::memory_order_relaxed) < kItems) {
      bool shared = false;
      Carrier* carrier = open.take(0, deques[me], &shared);
      if (carrier == nullptr && deques[1 - me].steal(carrier) != tailrace::queue::Steal::kTaken) {
        ModelAtomics::pause();
        continue;
      }
      Item* item = carrier->item;
      if (kBug == Bug::kGivesBackEarly) {
        permits.give_back(carrier);
        permits.pair(Serve{*this});
        run(item);
        continue;
      }
      run(item);
      if (me == 0) {  // one worker drains as long as something waits, the other gives its permit back each time
        while ((item = permits.next(Serve{*this})) != nullptr) run(item);
      }
      permits.give_back(carrier);
      if (kBug != Bug::kForgetsToPair) permits.pair(Serve{*this});
    }
  }
  void thread(int i) {
    if (i < 3) return work(static_cast<std::size_t>(i - 1));
    for (Item& item : items) {
      item.content = 7;
      permits.push(&item);
      permits.pair(Serve{*this});
    }
  }
  void finally() {
    for (const Item& item : items) check(item.times == 1, "an item was left although the permits are free");
  }
};

// Two threads push, and the second first asks for a node, as a carrier does. `last` stands for what the owner of the turns
// writes and the next one reads: in the shipped class the queues' ends and the spare node, which are plain fields.
struct Turns {
  static constexpr int kThreads = 2;
  struct Serve {
    Turns& turns;
    bool ends(Item* item) {
      check(item->content == 7, "the item's content is old");
      check(++item->times == 1, "an item was served twice");
      turns.last = item;
      return true;
    }
    void dispatch(Carrier*, Item*) { check(false, "there is no carrier"); }
  };
  Permits permits;
  std::array<Item, 2> items{};
  Var<Item*> last{nullptr};

  void thread(int i) {
    Item& item = items[static_cast<std::size_t>(i - 1)];
    item.content = 7;
    permits.push(&item);
    if (i == 2) check(permits.next(Serve{*this}) == nullptr, "what has been ended was given away");
    permits.pair(Serve{*this});
  }
  void finally() {
    for (const Item& item : items) check(item.times == 1, "an item was left although nobody pairs");
  }
};

const Mutant kRelaxedLook{"return head_.load(base::seq_cst) == nullptr", std::memory_order_relaxed};

TEST(a_lane_of_width_n_lets_in_n_and_leaves_nothing_behind) {
  prove<Narrow<1>>("width one, a pusher, two workers", {.preemptions = 2, .stale_loads = 0});
  prove<Narrow<2>>("width two, a pusher, two workers", {.preemptions = 2, .stale_loads = 0});
  prove<Narrow<1>>("width one, a pusher, two workers", {.random = 50'000});
  prove<Turns>("two that take turns", {.preemptions = 6, .stale_loads = 3});
  prove<Turns>("the same, when the queue's look orders nothing",
               {.preemptions = 6, .stale_loads = 3, .mutants = {kRelaxedLook}});
}

TEST(the_check_of_the_permits_catches_its_mutants) {
  const char *const kTake = "turns_.fetch_add(1, base::acq_rel)", *const kHandOn =
                                                                      "turns_.fetch_sub(seen, base::acq_rel)";
  auto turns = [](const char* text, Order order, bool relaxed_look = false) {
    Bounds bounds{.preemptions = 3, .stale_loads = 1};
    bounds.mutants = {{text, order}};
    if (relaxed_look) bounds.mutants.push_back(kRelaxedLook);
    return bounds;
  };
  const Bounds small{.preemptions = 2, .stale_loads = 0};
  catches<Narrow<1, Bug::kGivesBackEarly>>("the permit is given back before the body has ended", small);
  catches<Narrow<1, Bug::kForgetsToPair>>("who gives a permit back does not pair", small);
  catches<Narrow<1, Bug::kNone, PairsOnce>>("who pairs does not look whether others came meanwhile", small);
  catches<Turns>("a turn is taken without acquire", turns(kTake, std::memory_order_release));
  catches<Turns>("a turn is handed on without release", turns(kHandOn, std::memory_order_acquire));
  catches<Turns>("a carrier's turn is taken relaxed",
                 turns("turns_.compare_exchange_strong(none, 1, base::acquire", std::memory_order_relaxed));
  // The other two halves let who goes on see what was pushed before a turn was taken. The queue's own look, seq_cst for
  // the sake of parkers, hides them; relaxed, it leaves it to them alone.
  catches<Turns>("a turn is taken without release", turns(kTake, std::memory_order_acquire, true));
  catches<Turns>("a turn is handed on without acquire", turns(kHandOn, std::memory_order_release, true));
}

}  // namespace
