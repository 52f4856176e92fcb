#include "tailrace/sched/watch.hpp"

#include <algorithm>
#include <system_error>
#include <utility>

namespace tailrace::sched {

namespace {

constexpr std::int64_t kTickNs = 5'000'000;  // CPython's switch interval: a waiter is let in as often
constexpr int kQuietTicks = 4;

}  // namespace

Watch::Watch(std::string name, GatedLane& lane, Idle& idle, GateKeeper& keeper, const base::Clock& clock,
             const base::atomic<bool>& stopping)
    : name_{std::move(name)}, lane_{lane}, idle_{idle}, keeper_{keeper}, clock_{clock}, stopping_{stopping} {}

void Watch::arm(Timer& timer, std::int64_t deadline_ns) {
  if (timers_.arm(timer, deadline_ns) && !clock_.is_virtual()) wake();
}

void Watch::keep() {
  // [V1] seq_cst: after the permit was taken ([G1]); pairs with [V2]: we see the watch asleep, or it sees the permit.
  if (!watching_.load(base::seq_cst) && !watching_.exchange(true, base::seq_cst)) wake();
}

void Watch::wake() {
  {
    const std::lock_guard lock{mutex_};
    if (!made_) {
      if (stopping_.load(base::acquire)) return;  // [S1] acquire: pairs with [S2]
      try {
        thread_ = Thread{name_, [this] { loop(); }};
      } catch (const std::system_error&) {
        watching_.store(false, base::relaxed);  // relaxed: the next timer or worker tries again
        timers_.nobody_sleeps();
        return;
      }
      made_ = true;
    }
  }
  word_.fetch_add(1, base::release);  // [V3] release: what there is to see. Pairs with [V4].
  base::StdAtomics::unpark(word_, 1);
}

void Watch::move_thread_to(std::vector<Thread>& threads) {
  const std::lock_guard lock{mutex_};
  if (std::exchange(made_, false)) threads.push_back(std::move(thread_));
}

void Watch::loop() {
  const ThreadHooks hooks = keeper_.thread_hooks();
  if (hooks.on_start) hooks.on_start();
  base::sleep_on_time();
  for (;;) {
    const std::uint32_t word = word_.load(base::acquire);  // [V4] acquire: pairs with [V3]
    if (stopping_.load(base::acquire)) break;              // [S1] acquire: pairs with [S2]
    timers_.fire_due(clock_.now_ns());
    if (watching_.load(base::relaxed)) look_at_gate();  // relaxed: only this thread clears it
    const std::int64_t next = timers_.sleep_until_ns();
    std::int64_t wait = next == base::kNever ? -1 : std::max<std::int64_t>(next - clock_.now_ns(), 0);
    if (watching_.load(base::relaxed) && (wait < 0 || wait > kTickNs)) wait = kTickNs;  // relaxed: as above
    base::StdAtomics::park(word_, word, wait);
  }
  if (hooks.on_stop) hooks.on_stop();
}

void Watch::look_at_gate() {
  const std::uint64_t closed = lane_.gate.closed_body();
  if (closed != 0 && closed == last_closed_ && lane_.gate.force_open(closed) && lane_.has_items()) idle_.notify();
  last_closed_ = closed;
  quiet_ = lane_.gate.can_acquire() ? quiet_ + 1 : 0;
  if (quiet_ <= kQuietTicks) return;
  quiet_ = 0;
  watching_.store(false, base::seq_cst);  // [V2] seq_cst: and then look at the permit once more ([G4])
  if (!lane_.gate.can_acquire()) watching_.store(true, base::relaxed);  // relaxed: as above
}

}  // namespace tailrace::sched
