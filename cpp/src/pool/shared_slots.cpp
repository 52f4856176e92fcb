// The part of SharedCore that comes and goes: slots, the dead, forks.
#include <pthread.h>
#include <unistd.h>

#include <algorithm>
#include <vector>

#include "tailrace/pool/shared_core.hpp"

namespace tailrace::pool {

namespace {

// All participants of this process, for forks. Never destroyed: arrays may die after the last static object.
struct Registry {
  std::mutex mutex;  // also for their slots; taken before the mutex of a participant
  std::vector<SharedCore*> cores;
  std::vector<SharedCore*> lingering;  // of these: without an owner, but with something in transit
};

Registry& registry() {
  static auto* const all = new Registry;
  return *all;
}

void prepare() {
  registry().mutex.lock();
  for (SharedCore* core : registry().cores) core->before_fork();
}
void parent() {
  for (SharedCore* core : registry().cores) core->after_fork_here();
  registry().mutex.unlock();
}
void child() {
  for (SharedCore* core : registry().cores) core->after_fork_in_child();
  registry().mutex.unlock();
}

void watch_forks() {
  static const int failed = ::pthread_atfork(prepare, parent, child);
  if (failed != 0) throw std::bad_alloc{};
}

}  // namespace

template <class... Args>
std::shared_ptr<SharedCore> SharedCore::make(Args... args) {
  watch_forks();
  SharedCore* made = nullptr;
  {
    const std::lock_guard lock{registry().mutex};  // no fork may come between a lock on a slot and its entry here
    registry().cores.reserve(registry().cores.size() + 1);
    made = new SharedCore{args...};
    registry().cores.push_back(made);
    made->slot_ = made->take_slot(made->segment_.locks(), SlotUse::kParticipant);
  }
  const std::shared_ptr<SharedCore> core{made, retire};
  if (core->slot_ == kNone) throw SharedPoolError{SharedFault::kFull};
  core->reap();
  return core;
}

std::shared_ptr<SharedCore> SharedCore::create(std::size_t limit_bytes) { return make(limit_bytes); }
std::shared_ptr<SharedCore> SharedCore::attach(int descriptor, bool writable) { return make(descriptor, writable); }

SharedCore::~SharedCore() {
  if (slot_ != kNone) set_slot(slot_, SlotUse::kNone);
  if (courier_ != kNone) set_slot(courier_, SlotUse::kNone);
}

bool SharedCore::has_gifts() const {
  return courier_ != kNone && segment_.ledger().any_held(SharedLedger::bit(courier_));
}

// In place of `delete`. What lingers is looked at whenever another one goes.
void SharedCore::retire(SharedCore* core) {
  std::vector<SharedCore*> gone;
  {
    const std::lock_guard lock{registry().mutex};
    auto& lingering = registry().lingering;
    lingering.push_back(core);
    const auto still = std::partition(lingering.begin(), lingering.end(), [](SharedCore* c) { return c->has_gifts(); });
    gone.assign(still, lingering.end());
    lingering.erase(still, lingering.end());
    for (SharedCore* dead : gone) std::erase(registry().cores, dead);
  }
  for (SharedCore* dead : gone) delete dead;
}

void SharedCore::set_slot(unsigned slot, SlotUse use) noexcept {
  SlotWords& words = segment_.slot(slot);
  // relaxed, both: the slot is ours by its lock; others only look.
  words.process.store(use == SlotUse::kNone ? 0 : static_cast<std::uint64_t>(::getpid()), base::relaxed);
  words.state.store(static_cast<std::uint64_t>(use), base::relaxed);
}

void SharedCore::reclaim(unsigned slot) noexcept {
  const auto done = segment_.ledger().reclaim(slot);
  n_reaped_.fetch_add(1, base::relaxed);
  reclaimed_.fetch_add(done.blocks, base::relaxed);
}

// A slot that nobody has locked; if its last one died in it, after its death has been seen to.
unsigned SharedCore::take_slot(int locks, SlotUse use) {
  for (unsigned slot = 0; slot < kSharedSlots; ++slot) {
    if ((locks == segment_.locks() && is_mine(slot)) || !segment_.try_lock(locks, slot)) continue;
    // relaxed: what the last holder of the lock wrote is here by the kernel's lock.
    if (segment_.slot(slot).state.load(base::relaxed) != 0) reclaim(slot);
    set_slot(slot, use);
    return slot;
  }
  return kNone;
}

unsigned SharedCore::courier() {
  const std::lock_guard lock{registry().mutex};
  if (courier_ == kNone) courier_ = take_slot(segment_.locks(), SlotUse::kCourier);
  return courier_;
}

std::size_t SharedCore::reap() {
  const std::lock_guard lock{registry().mutex};
  std::size_t found = 0;
  if (slot_ == kNone) return found;
  for (unsigned slot = 0; slot < kSharedSlots; ++slot) {
    // relaxed: a guess; looked at again under the lock.
    const auto in_use = [&] { return segment_.slot(slot).state.load(base::relaxed) != 0; };
    if (is_mine(slot) || !in_use() || !segment_.try_lock(segment_.locks(), slot)) continue;
    if (in_use()) {
      reclaim(slot);
      set_slot(slot, SlotUse::kNone);
      ++found;
    }
    segment_.unlock(segment_.locks(), slot);
  }
  return found;
}

// The child's holds are made before there is a child: at no time could its parent's last drop free a block under it.
void SharedCore::before_fork() noexcept {
  mutex_.lock();
  child_slot_ = kNone;
  child_locks_ = -1;
  if (slot_ == kNone) return;
  try {
    child_locks_ = segment_.new_locks();
  } catch (const std::exception&) {
    return;
  }
  child_slot_ = take_slot(child_locks_, SlotUse::kParticipant);
  if (child_slot_ == kNone) return;
  for (const auto& [head, count] : held_) segment_.ledger().hold_for(child_slot_, head);
}

void SharedCore::after_fork_here() noexcept {
  if (child_locks_ >= 0) ::close(child_locks_);
  mutex_.unlock();
}

void SharedCore::after_fork_in_child() noexcept {
  if (child_slot_ == kNone && child_locks_ >= 0) ::close(std::exchange(child_locks_, -1));
  segment_.use_locks(child_locks_);
  slot_ = child_slot_;
  courier_ = kNone;
  if (slot_ != kNone) set_slot(slot_, SlotUse::kParticipant);
  mutex_.unlock();
}

}  // namespace tailrace::pool
