#include "tailrace/sched/crew.hpp"

#include <algorithm>
#include <cerrno>
#include <stdexcept>
#include <system_error>
#include <utility>

#include "tailrace/base/clock.hpp"

namespace tailrace::sched {

Crew::Crew(int wanted, int limit, Hooks hooks)
    : limit_{limit}, hooks_{std::move(hooks)}, members_(static_cast<std::size_t>(limit)), wanted_{wanted} {
  for (int slot = 0; slot < wanted; ++slot) hooks_.prepare(slot);
  slots_.store(wanted, base::seq_cst);  // [U1] seq_cst: as below
}

int Crew::needed() const noexcept {
  return std::min(limit_, wanted_.load(base::relaxed) + blocked_);  // relaxed: written with the mutex held
}

void Crew::note_over() noexcept {
  const bool over = !ending_ && active_ > needed();
  // relaxed: written with the mutex held. [U2] seq_cst: comes before the look for sleepers to wake.
  if (over != over_.load(base::relaxed)) over_.store(over, base::seq_cst);
}

void Crew::activate(int slot) {
  Slot& member = members_[static_cast<std::size_t>(slot)];
  if (member.state == State::kUnused) {
    const int made = slots_.load(base::relaxed);  // relaxed: written with the mutex held
    if (slot >= made) {
      hooks_.prepare(slot);
      slots_.store(slot + 1, base::seq_cst);  // [U1] seq_cst: before the worker can push
    }
    member.thread = Thread{hooks_.name(slot), [this, slot] { hooks_.body(slot); }};
  }
  member.state = State::kActive;
  ++active_;
  member.call.store(1, base::release);  // [U3] release: a spare sees why it is called. Pairs with [U4].
  base::StdAtomics::unpark(member.call, 1);
}

// Spares first: they are there. False when the system has no thread for us.
bool Crew::call_up() {
  while (active_ < needed()) {
    const auto in = [](State state) { return [state](const Slot& member) { return member.state == state; }; };
    auto next = std::find_if(members_.begin(), members_.end(), in(State::kSpare));
    if (next == members_.end()) next = std::find_if(members_.begin(), members_.end(), in(State::kUnused));
    if (next == members_.end()) break;  // at stop, when others have left already
    try {
      activate(static_cast<int>(next - members_.begin()));
    } catch (const std::system_error&) {
      return false;
    }
  }
  return true;
}

void Crew::start() {
  const std::lock_guard lock{mutex_};
  if (started_ || ending_) return;
  started_ = true;
  if (call_up() || active_ > 0) return;
  started_ = false;
  throw std::system_error{EAGAIN, std::generic_category(), "tailrace: cannot start a worker thread"};
}

bool Crew::resize(int wanted) {
  const std::lock_guard lock{mutex_};
  if (ending_)
    throw std::logic_error{"tailrace: resize() after stop: this scheduler has no workers any more; make a new one"};
  wanted_.store(wanted, base::seq_cst);  // [U5] seq_cst: a worker retires, and looks at its inbox, after this
  if (started_) {
    call_up();
  } else {
    for (int slot = slots_.load(base::relaxed); slot < wanted; ++slot) {  // relaxed: written with the mutex held
      hooks_.prepare(slot);
      slots_.store(slot + 1, base::seq_cst);  // [U1] seq_cst: as above
    }
  }
  note_over();
  return over_.load(base::relaxed);  // relaxed: written with the mutex held
}

void Crew::begin_blocking() {
  const std::lock_guard lock{mutex_};
  ++blocked_;
  if (started_) call_up();
  note_over();
}

bool Crew::end_blocking() {
  const std::lock_guard lock{mutex_};
  --blocked_;
  note_over();
  return over_.load(base::relaxed);  // relaxed: written with the mutex held
}

void Crew::recall(int slot) {
  const std::lock_guard lock{mutex_};
  if (members_[static_cast<std::size_t>(slot)].state != State::kSpare) return;
  activate(slot);
  note_over();
}

bool Crew::retire(int slot) {
  const std::lock_guard lock{mutex_};
  if (ending_ || active_ <= needed()) return note_over(), false;
  Slot& member = members_[static_cast<std::size_t>(slot)];
  member.state = State::kSpare;
  member.call.store(0, base::relaxed);  // relaxed: who calls it takes the mutex first
  --active_;
  note_over();
  return true;
}

void Crew::wait_as_spare(int slot) {
  const auto& call = members_[static_cast<std::size_t>(slot)].call;
  while (call.load(base::acquire) == 0) base::StdAtomics::park(call, 0, -1);  // [U4] acquire: pairs with [U3]
}

void Crew::end() {
  const std::lock_guard lock{mutex_};
  ending_ = true;
  for (std::size_t slot = 0; slot < members_.size(); ++slot) {
    if (members_[slot].state == State::kSpare) activate(static_cast<int>(slot));
  }
  note_over();
}

void Crew::left(int slot) {
  const std::lock_guard lock{mutex_};
  members_[static_cast<std::size_t>(slot)].state = State::kLeft;
  --active_;
}

bool Crew::join_until(std::int64_t deadline_ns) {
  for (bool joined = true; joined;) {  // again: a body that blocks may have been replaced by a new thread meanwhile
    joined = false;
    for (Slot& member : members_) {
      {
        const std::lock_guard lock{mutex_};
        if (member.state == State::kUnused || member.joined) continue;
      }
      if (!member.thread.join_until(deadline_ns)) continue;  // the next ones may have ended long ago
      member.joined = joined = true;
    }
  }
  return late().empty();
}

std::vector<int> Crew::late() const {
  const std::lock_guard lock{mutex_};
  std::vector<int> slots;
  for (std::size_t slot = 0; slot < members_.size(); ++slot) {
    const Slot& member = members_[slot];
    if (member.state != State::kUnused && !member.thread.finished()) slots.push_back(static_cast<int>(slot));
  }
  return slots;
}

Crew::Counts Crew::counts() const {
  const std::lock_guard lock{mutex_};
  Counts counts{0, active_, blocked_};
  for (const Slot& member : members_) {
    if (member.state == State::kActive || member.state == State::kSpare) ++counts.threads;
  }
  return counts;
}

}  // namespace tailrace::sched
