// test_gate_waiters.cpp -- at most one worker waits for what the gate guards, whatever bodies do.
#include <atomic>
#include <deque>
#include <latch>
#include <mutex>
#include <thread>

#include "../harness.hpp"
#include "tailrace/sched/scheduler.hpp"

namespace {

using namespace tailrace;

// A thing like the GIL: one thread has it at a time.
struct Thing final : sched::GateKeeper {
  void enter(sched::Worker&) override {
    const int now = ++waiting;
    for (int seen = most; now > seen && !most.compare_exchange_weak(seen, now);) {
    }
    mutex.lock();
    --waiting;
    ++entries;
  }
  void leave(sched::Worker&) override { mutex.unlock(); }

  std::mutex mutex;
  std::atomic<int> waiting{0}, most{0}, entries{0};
};

struct Body final : sched::Item {
  void run(sched::Worker* worker) override {
    worker->enter_body(opens);
    if (lets_go) {  // as a body that calls into a library does
      thing->mutex.unlock();
      std::this_thread::yield();
      thing->mutex.lock();
    }
    ++ran;  // under the mutex
    worker->leave_body();
    done->count_down();
  }
  void complete(base::Outcome) override { CHECK(false); }
  void drop() override { CHECK(false); }
  Thing* thing = nullptr;
  std::latch* done = nullptr;
  bool opens = false, lets_go = false;
  int ran = 0;
};

TEST(at_most_one_worker_waits_for_what_the_gate_guards) {
  constexpr int kBodies = 400;
  Thing thing;
  std::latch done{kBodies};
  std::deque<Body> bodies(kBodies);
  {
    sched::Scheduler scheduler{{.workers = 4, .slice_ns = 20'000, .keeper = &thing}};
    for (int i = 0; i < kBodies; ++i) {
      Body& body = bodies[static_cast<std::size_t>(i)];
      body.thing = &thing;
      body.done = &done;
      body.opens = i % 2 == 0;
      body.lets_go = i % 3 != 0;
      scheduler.push_gated(&body);
    }
    done.wait();
    CHECK_EQ(thing.most.load(), 1);  // before the stop, which is no competition for it
  }
  CHECK(thing.entries.load() >= 1);
  for (const Body& body : bodies) CHECK_EQ(body.ran, 1);
}

}  // namespace
