// join_word.cpp -- a stolen child and its forker; a group and its home: nobody sleeps for ever, nothing is read too soon.
//
// The waiting loops here are Place::wait and TaskGroup::wait_for_all without the spinning, the thief is Place::finish and
// TaskGroup::TaskBase::run_at.
#include "tailrace/sched/join_word.hpp"

#include "prove.hpp"

namespace {

using namespace tailrace::model;
using tailrace::sched::BasicGroupCount;
using tailrace::sched::BasicJoinWord;
using tailrace::sched::BasicNap;
using tailrace::sched::Joined;

enum class Bug : std::uint8_t { kNone, kNoPrepare, kTouchesAfter, kLooksFirst, kNoWakeAfterReturn, kNoWatch };

// A forker, its thief, and somebody who wakes the forker for an earlier reason.
template <Bug kBug = Bug::kNone>
struct OneChild {
  static constexpr int kThreads = 3;
  BasicNap<ModelAtomics> nap;
  BasicJoinWord<ModelAtomics> join;
  Var<int> result{0}, frame{0}, place{0};

  void thread(int i) {
    if (i == 3) return nap.wake();
    if (i == 2) {
      place = 5;
      join.set_thief(1);
      result = 42;
      if (join.finish(Joined::kDone)) nap.wake();
      if (kBug == Bug::kTouchesAfter) static_cast<void>(static_cast<int>(frame));
      return;
    }
    while (!join.ended()) {
      if (join.thief() != 0) check(place == 5, "the thief's place is not to be seen");
      if (kBug != Bug::kNoPrepare) nap.prepare();
      if (join.show_sleep()) {
        if (kBug == Bug::kNoPrepare) nap.prepare();
        nap.sleep();
      }
    }
    check(result == 42, "the child's result is old");
    frame = 1;  // the frame of the child is used for something else
  }
  void finally() {}
};

// The thief shares more work while the forker goes to sleep; the forker must then be awake, or have seen it.
template <Bug kBug = Bug::kNone>
struct Helper {
  static constexpr int kThreads = 2;
  BasicNap<ModelAtomics> nap;
  Atomic<std::uint32_t> helper{0};
  Atomic<int> published{0};
  bool taken = false;

  void thread(int i) {
    if (i == 2) {
      published.store(1, std::memory_order_seq_cst);
      if (helper.load(std::memory_order_seq_cst) != 0 && helper.exchange(0, std::memory_order_relaxed) != 0) nap.wake();
      return;
    }
    while (!taken) {
      nap.prepare();
      if (kBug == Bug::kLooksFirst) taken = published.load(std::memory_order_seq_cst) != 0;
      if (kBug != Bug::kNoWatch) helper.store(1, std::memory_order_seq_cst);
      if (kBug != Bug::kLooksFirst) taken = published.load(std::memory_order_seq_cst) != 0;
      if (!taken) nap.sleep();
    }
  }
  void finally() {}
};

// Three tasks of the home: it runs one, a thief runs one and gives one back; another place spawns one more inside its own.
template <Bug kBug = Bug::kNone>
struct Group {
  static constexpr int kThreads = 3;
  BasicNap<ModelAtomics> nap;
  BasicGroupCount<ModelAtomics> count;
  Atomic<int> returned{0};
  Var<int> first{0}, second{0}, gave{0}, frame{0};

  Group() {
    for (int i = 0; i < 3; ++i) count.add(true);
  }
  void end(Var<int>& result) {
    result = 1;
    if (count.done(false)) nap.wake();
    if (kBug == Bug::kTouchesAfter) static_cast<void>(static_cast<int>(frame));
  }
  void thread(int i) {
    if (i == 2) {
      gave = 1;
      returned.store(1, std::memory_order_release);
      if (kBug != Bug::kNoWakeAfterReturn) nap.wake();
      return;
    }
    if (i == 3) {
      count.add(false);  // spawned inside a task that is counted
      end(first);
      return end(second);
    }
    count.done(true);
    while (!count.finished()) {
      if (returned.load(std::memory_order_relaxed) != 0 && returned.exchange(0, std::memory_order_acquire) != 0) {
        check(gave == 1, "what was given back is old");
        count.done(true);
        continue;
      }
      nap.prepare();
      if (returned.load(std::memory_order_relaxed) != 0) continue;
      if (count.show_sleep()) nap.sleep();
      count.awake();
    }
    check(first == 1 && second == 1, "a task's result is old");
    frame = 1;  // the group is gone
  }
  void finally() {}
};

TEST(who_forked_a_stolen_child_wakes_up_and_sees_its_result) {
  prove<OneChild<>>("forker, thief, an old wake", {.preemptions = 4, .stale_loads = 3});
  prove<Helper<>>("a sleeping helper and a thief that shares", {.preemptions = 4, .stale_loads = 3});
}

TEST(a_group_ends_when_its_last_task_has_and_not_before) {
  prove<Group<>>("home and two places", {.preemptions = 4, .stale_loads = 2});
  prove<Group<>>("home and two places", {.random = 50'000});
}

TEST(the_check_of_the_join_words_catches_its_mutants) {
  const Bounds small{.preemptions = 4, .stale_loads = 2};
  const auto weak = [&](const char* text, std::memory_order order) {
    Bounds bounds = small;
    bounds.mutants = {{text, order}};
    return bounds;
  };
  catches<OneChild<Bug::kNoPrepare>>("shows its sleep before it prepares it", small);
  catches<OneChild<Bug::kTouchesAfter>>("a thief touches the child after the end", small);
  catches<OneChild<>>("the end releases nothing",
                      weak("const auto before = word_.exchange", std::memory_order_relaxed));
  catches<OneChild<>>("the end is read relaxed",
                      weak("static_cast<Joined>(word_.load(base::acquire))", std::memory_order_relaxed));
  catches<OneChild<>>("the thief's number is stored relaxed",
                      weak("thief_.store(place, base::release)", std::memory_order_relaxed));
  catches<OneChild<>>("the thief's number is read relaxed",
                      weak("return thief_.load(base::acquire)", std::memory_order_relaxed));
  catches<Helper<Bug::kLooksFirst>>("looks for work before it shows itself as a helper", small);
  catches<Helper<Bug::kNoWatch>>("sleeps without showing itself as a helper", small);
  catches<Group<Bug::kTouchesAfter>>("a place touches the group after its last task", small);
  catches<Group<Bug::kNoWakeAfterReturn>>("gives a task back without a wake", small);
  catches<Group<>>("a task's end releases nothing",
                   weak("word_.fetch_sub(kOne, base::release)", std::memory_order_relaxed));
  catches<Group<>>("the count is read relaxed", weak("word_.load(base::acquire) == 0", std::memory_order_relaxed));
  catches<Group<>>("the prepare acquires nothing",
                   weak("word_.exchange(kAsleep, base::acquire)", std::memory_order_relaxed));
  catches<Group<>>("the wake releases nothing",
                   weak("word_.exchange(kAwake, base::release)", std::memory_order_relaxed));
}

}  // namespace
