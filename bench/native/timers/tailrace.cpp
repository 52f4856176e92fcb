#include "tailrace/sched/scheduler.hpp"
#include "workload.hpp"

namespace {

using namespace tailrace;

struct Note final : sched::Timer {
  void fire() override { fired_ns = bench::now_ns(); }
  std::atomic<std::int64_t> fired_ns{0};
};

struct Real {
  using Timer = Note;
  void arm(Note& timer, std::int64_t deadline_ns) { scheduler.arm(timer, deadline_ns); }
  bool cancel(Note& timer) { return scheduler.cancel(timer); }
  sched::Scheduler scheduler{{.workers = 1}};
};

struct Listed final : sched::Timer {
  void fire() override { list->push_back(this); }
  std::vector<Listed*>* list = nullptr;
};

struct Moved {
  using Timer = Listed;
  void arm(Listed& timer, std::int64_t deadline_ns) {
    timer.list = &due;
    scheduler.arm(timer, deadline_ns);
  }
  bool cancel(Listed& timer) { return scheduler.cancel(timer); }
  std::int64_t next() { return scheduler.next_event_ns(); }
  template <class Fn>
  void advance(std::int64_t now_ns, Fn&& again) {
    scheduler.virtual_clock().advance_to(now_ns);
    scheduler.drive_once();
    for (Listed* timer : due) again(*timer, timer->deadline_ns);
    due.clear();
  }
  std::vector<Listed*> due;
  sched::Scheduler scheduler{{.workers = 1, .is_virtual = true}};
};

}  // namespace

int main(int argc, char** argv) { bench::timers::measure<Real, Moved>("tailrace", bench::parse(argc, argv)); }
