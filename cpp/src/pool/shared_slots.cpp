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
    try {
      made->own_ = made->take_slot(SlotUse::kParticipant);
    } catch (...) {
      delete made;
      throw;
    }
    registry().cores.push_back(made);
  }
  const std::shared_ptr<SharedCore> core{made, retire};
  if (!core->is_part()) throw SharedPoolError{SharedFault::kFull};
  core->reap();
  return core;
}

std::shared_ptr<SharedCore> SharedCore::create(std::size_t limit_bytes) { return make(limit_bytes); }
std::shared_ptr<SharedCore> SharedCore::attach(int descriptor, bool writable) { return make(descriptor, writable); }

SharedCore::~SharedCore() {
  leave(own_);
  leave(courier_);
}

bool SharedCore::has_gifts() const {
  return courier_.slot != kNone && segment_.ledger().any_held(SharedLedger::bit(courier_.slot));
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
SharedCore::SlotLock SharedCore::take_slot(SlotUse use) {
  const int locks = segment_.open_locks();
  SlotLock taken;
  for (unsigned slot = 0; slot < kSharedSlots && taken.slot == kNone; ++slot) {
    if (!segment_.try_lock(locks, slot)) continue;
    // relaxed: what the last holder of the lock wrote is here by the kernel's lock.
    if (segment_.slot(slot).state.load(base::relaxed) != 0) reclaim(slot);
    taken.anchor = SharedSegment::anchor(locks);
    if (taken.anchor == nullptr) break;
    set_slot(slot, use);
    taken.slot = slot;
  }
  ::close(locks);
  return taken;
}

void SharedCore::leave(SlotLock& taken) noexcept {
  if (taken.slot == kNone) return;
  set_slot(taken.slot, SlotUse::kNone);
  SharedSegment::drop_anchor(taken.anchor);
  taken = {};
}

unsigned SharedCore::courier() {
  const std::lock_guard lock{registry().mutex};
  if (courier_.slot == kNone) courier_ = take_slot(SlotUse::kCourier);
  return courier_.slot;
}

std::size_t SharedCore::reap() {
  const std::lock_guard lock{registry().mutex};
  std::size_t found = 0;
  if (!is_part()) return found;
  const int locks = segment_.open_locks();
  for (unsigned slot = 0; slot < kSharedSlots; ++slot) {
    // relaxed: a guess; looked at again under the lock.
    const auto in_use = [&] { return segment_.slot(slot).state.load(base::relaxed) != 0; };
    if (!in_use() || !segment_.try_lock(locks, slot)) continue;
    if (in_use()) {
      reclaim(slot);
      set_slot(slot, SlotUse::kNone);
      ++found;
    }
    segment_.unlock(locks, slot);
  }
  ::close(locks);
  return found;
}

// The child's holds are made before there is a child: at no time could its parent's last drop free a block under it.
void SharedCore::before_fork() noexcept {
  mutex_.lock();
  childs_ = {};
  if (!is_part()) return;
  try {
    childs_ = take_slot(SlotUse::kParticipant);
  } catch (const std::exception&) {
    return;
  }
  if (childs_.slot == kNone) return;
  SharedSegment::inherit(childs_.anchor, true);
  for (const auto& [head, count] : held_) segment_.ledger().hold_for(childs_.slot, head);
}

void SharedCore::after_fork_here() noexcept {
  if (childs_.slot != kNone) SharedSegment::drop_anchor(childs_.anchor);
  mutex_.unlock();
}

void SharedCore::after_fork_in_child() noexcept {
  own_ = childs_;  // the anchors of its parent are not here
  courier_ = {};
  if (is_part()) {
    SharedSegment::inherit(own_.anchor, false);
    set_slot(own_.slot, SlotUse::kParticipant);
  }
  mutex_.unlock();
}

}  // namespace tailrace::pool
