// checker.hpp -- the model checker's face: atomics that a lock-free template is built with, and `explore`.
//
// What      `ModelAtomics` stands in for base::StdAtomics; `Var` is a plain field whose races are found; a scenario is
//           a struct with `kThreads`, `thread(i)` (i from 1), `finally()` and, if parked threads may be left over at
//           the end, `may_sleep()`. `explore<Scenario>(bounds)` runs it in every order within the bounds.
// Why       The template that is proved is the template that ships; a mutant weakens one source line of it.
// Threads   None: the checker is one thread. Build it without sanitizers: they do not know the fibers' stacks.
//
// Modelled      Every order of atomic accesses within a number of pre-emptions; loads that read old values as C++20
//               allows them (no acquire, no release, no seq_cst: each shows); release sequences; the single order of
//               seq_cst accesses; data races on `Var`; use of an atomic before its construction is visible; parking
//               as a futex does it (compare and sleep are one step), with time limits that may end at any moment;
//               a membarrier, as a barrier of each other thread at a moment of its own during the call;
//               deadlock (a lost wake-up) and livelock.
// Not modelled  A load that reads a store made later (load buffering: a relaxed load that passes a later store of its
//               own thread; so a release order that only keeps loads before a store is not shown to be needed).
//               A store that enters the modification order before one already there (2+2W). Stand-alone fences:
//               the house has none. Spurious failure of a weak exchange. Consume. Mixed-size accesses.
//               More pre-emptions or stale loads than the bounds say; random walks (`Bounds::random`) sample those.
#pragma once

#include <cstring>
#include <type_traits>

#include "explorer.hpp"

namespace tailrace::model {

inline void check(bool condition, const char* why) {
  if (!condition) Explorer::current()->fail(why);
}

template <class T>
class Atomic {
  static_assert(std::is_trivially_copyable_v<T> && sizeof(T) <= 8);
  using Site = std::source_location;

 public:
  Atomic() : Atomic(T{}) {}
  Atomic(T value) : where_{create(pack(value))} {}  // not explicit: as std::atomic
  Atomic(const Atomic&) = delete;
  Atomic& operator=(const Atomic&) = delete;

  T load(Order order, Site site = Site::current()) const { return read(order, "load", site); }

  void store(T value, Order order, Site site = Site::current()) {
    Explorer& explorer = enter(order, site);
    explorer.memory().store(explorer.thread(), where_, pack(value), order, false);
    explorer.wrote();
    explorer.note_access("store", pack(value), site);
  }

  T exchange(T value, Order order, Site site = Site::current()) {
    return modify([value](T) { return value; }, order, "exchange", site);
  }
  T fetch_add(T n, Order order, Site site = Site::current()) {
    return modify([n](T old) { return static_cast<T>(old + n); }, order, "fetch_add", site);
  }
  T fetch_sub(T n, Order order, Site site = Site::current()) {
    return modify([n](T old) { return static_cast<T>(old - n); }, order, "fetch_sub", site);
  }
  T fetch_and(T n, Order order, Site site = Site::current()) {
    return modify([n](T old) { return static_cast<T>(old & n); }, order, "fetch_and", site);
  }
  T fetch_or(T n, Order order, Site site = Site::current()) {
    return modify([n](T old) { return static_cast<T>(old | n); }, order, "fetch_or", site);
  }

  bool compare_exchange_strong(T& expected, T desired, Order success, Order failure, Site site = Site::current()) {
    Explorer& explorer = enter(success, site);
    Memory& memory = explorer.memory();
    const std::size_t me = explorer.thread(), newest = memory.newest(where_);
    const std::uint64_t wanted = pack(expected);
    // A failing exchange is a load: it may fail because of an old value, but not succeed because of one.
    const std::size_t index = explorer.choose_store(memory.oldest(me, where_, failure), newest,
                                                    [&](std::size_t i) { return memory.value(where_, i) != wanted; });
    const bool equal = memory.value(where_, index) == wanted;
    memory.load(me, where_, index, equal ? success : failure);
    expected = unpack(memory.value(where_, index));
    if (equal) {
      memory.store(me, where_, pack(desired), success, true);
      explorer.wrote();
    }
    explorer.note_access(equal ? "exchanged to" : "not exchanged, found", pack(equal ? desired : expected), site);
    return equal;
  }
  bool compare_exchange_weak(T& expected, T desired, Order success, Order failure, Site site = Site::current()) {
    return compare_exchange_strong(expected, desired, success, failure, site);
  }

  // For the scenario's own looks: the newest value, without a step.
  T peek() const {
    const Memory& memory = Explorer::current()->memory();
    return unpack(memory.value(where_, memory.newest(where_)));
  }
  std::size_t where() const { return where_; }

 private:
  static std::uint64_t pack(T value) {
    std::uint64_t bits = 0;
    std::memcpy(&bits, &value, sizeof(T));
    return bits;
  }
  static T unpack(std::uint64_t bits) {
    T value;
    std::memcpy(&value, &bits, sizeof(T));
    return value;
  }
  static std::size_t create(std::uint64_t bits) {
    Explorer& explorer = *Explorer::current();
    if (explorer.memory().full()) explorer.fail("too many atomics: raise kMaxLocations");
    return explorer.memory().create(explorer.thread(), bits);
  }

  Explorer& enter(Order& order, const Site& site) const {
    Explorer& explorer = *Explorer::current();
    explorer.step();
    if (const Mutant* mutant = explorer.mutant(site)) order = mutant->order;
    if (!explorer.memory().construction_seen(explorer.thread(), where_)) {
      explorer.fail("an atomic is used before its construction is visible");
    }
    return explorer;
  }

  T read(Order order, const char* kind, const Site& site) const {
    Explorer& explorer = enter(order, site);
    if (const Mutant* mutant = explorer.mutant(site); mutant != nullptr && mutant->reads) return unpack(*mutant->reads);
    Memory& memory = explorer.memory();
    const std::size_t index = explorer.choose_store(memory.oldest(explorer.thread(), where_, order),
                                                    memory.newest(where_), [](std::size_t) { return true; });
    memory.load(explorer.thread(), where_, index, order);
    explorer.note_access(index == memory.newest(where_) ? kind : "load OLD", memory.value(where_, index), site);
    return unpack(memory.value(where_, index));
  }

  template <class Change>
  T modify(Change change, Order order, const char* kind, const Site& site) {
    Explorer& explorer = enter(order, site);
    Memory& memory = explorer.memory();
    const T old = unpack(memory.value(where_, memory.newest(where_)));
    if (const Mutant* mutant = explorer.mutant(site); mutant != nullptr && mutant->reads) return unpack(*mutant->reads);
    memory.load(explorer.thread(), where_, memory.newest(where_), order);
    memory.store(explorer.thread(), where_, pack(change(old)), order, true);
    explorer.wrote();
    explorer.note_access(kind, pack(change(old)), site);
    return old;
  }

  std::size_t where_;
};

struct ModelAtomics {
  template <class T>
  using atomic = Atomic<T>;

  static void pause() { Explorer::current()->pause(); }
  static void yield() { Explorer::current()->pause(); }

  static std::int64_t now_ns() { return 0; }
  static void keep_order() {}  // the checker never moves an access of its own accord
  static bool membarrier() {
    Explorer::current()->note("membarrier");
    Explorer::current()->membarrier();
    return true;
  }

  static void park(const Atomic<std::uint32_t>& word, std::uint32_t expected, std::int64_t timeout_ns) {
    Explorer& explorer = *Explorer::current();
    explorer.step();
    if (word.peek() != expected) return explorer.note("park: the word has changed");
    explorer.note("parks");
    const bool woken = explorer.park(word.where(), timeout_ns >= 0);
    explorer.note(woken ? "is woken" : "its time is up");
  }

  static void unpark(const Atomic<std::uint32_t>& word, int count) {
    Explorer& explorer = *Explorer::current();
    explorer.step();
    explorer.note("unparks");
    explorer.unpark(word.where(), count);
  }
};

// A plain field. Two accesses of which one writes, and neither happens before the other, are a failure.
template <class T>
class Var {
 public:
  Var(T value = T{}) : value_{value} { note_write(); }  // not explicit: as T itself
  Var(const Var& other) : Var(static_cast<T>(other)) {}
  Var& operator=(const Var& other) { return *this = static_cast<T>(other); }
  Var& operator=(T value) {
    const View& view = Explorer::current()->memory().view(Explorer::current()->thread());
    for (std::size_t i = 0; i < kMaxThreads; ++i) {
      if (read_[i] > view.clock[i] || wrote_[i] > view.clock[i]) Explorer::current()->fail("data race: a write");
    }
    note_write();
    value_ = value;
    return *this;
  }
  operator T() const {
    Explorer& explorer = *Explorer::current();
    const View& view = explorer.memory().view(explorer.thread());
    for (std::size_t i = 0; i < kMaxThreads; ++i) {
      if (wrote_[i] > view.clock[i]) explorer.fail("data race: a read");
    }
    read_[explorer.thread()] = view.clock[explorer.thread()];
    return value_;
  }

 private:
  void note_write() {
    Explorer& explorer = *Explorer::current();
    wrote_[explorer.thread()] = explorer.memory().view(explorer.thread()).clock[explorer.thread()];
  }

  T value_;
  mutable std::array<std::uint32_t, kMaxThreads> read_{};
  std::array<std::uint32_t, kMaxThreads> wrote_{};
};

// Runs the scenario within the bounds; on failure the result has the trace of a replay.
template <class Scenario>
Result explore(Bounds bounds) {
  Result result = Explorer{bounds}.run<Scenario>();
  if (result.failed && bounds.replay.empty()) {
    bounds.replay = result.choices;
    if (bounds.replay.empty()) bounds.replay.push_back(0);
    result.trace = Explorer{bounds}.run<Scenario>().trace;
  }
  return result;
}

}  // namespace tailrace::model
