#include "tailrace/sched/place.hpp"

#include "tailrace/base/clock.hpp"

namespace tailrace::sched {

Place::Place(Places& places, int id, bool shares) : deque_{shares}, places_{places}, id_{id} {}

void Place::share() {
  deque_.share();
  // [F5] seq_cst: after the children are public ([D2]); pairs with the store in `watch`.
  if (helper_.load(base::seq_cst) != 0) {
    // relaxed: whom it names does not change meanwhile, but for a later helper that is as good
    if (const std::uint32_t helper = helper_.exchange(0, base::relaxed))
      places_.at(static_cast<int>(helper) - 1).wake();
  }
  places_.notify();
}

bool Place::take_back_slowly(Forked* child) noexcept {
  return deque_.take([child](const Forked* other) { return other == child; }) != nullptr;
}

void Place::run_own() noexcept {
  while (Forked* child = deque_.take([](const Forked*) { return true; })) child->run(*child, this, *this);
}

void Place::run(Forked& child, Place& owner) noexcept {
  stolen_.add();
  // relaxed (both): who reads these has stolen a child that was forked after they were written; see `help`
  const std::uint32_t depth = depth_.load(base::relaxed);
  if (depth < kMaxHelp) scopes_[depth].store(&child, base::relaxed);
  depth_.store(depth + 1, base::relaxed);
  child.join.set_thief(static_cast<std::uint32_t>(id_) + 1);
  child.run(child, this, owner);
  depth_.store(depth, base::relaxed);
}

void Place::rescope(const void* scope) noexcept {
  const std::uint32_t depth = depth_.load(base::relaxed);  // relaxed (both): as in run
  if (depth >= 1 && depth <= kMaxHelp) scopes_[depth - 1].store(scope, base::relaxed);
}

bool Place::runs(const void* scope) const noexcept {
  const std::uint32_t depth = depth_.load(base::relaxed);
  for (std::uint32_t i = 0; i < depth && i < kMaxHelp; ++i) {
    if (scopes_[i].load(base::relaxed) == scope) return true;
  }
  return false;
}

// A thread steals only with nothing of its own left; so all that lies at a thief's place was forked within the stolen
// child that it runs innermost. What we steal there while that child is (within) the one we wait for is a descendant of
// it. The thief may have ended that child and begun a stranger's between our two looks: then we give back what we took.
bool Place::help(std::uint32_t thief, const void* scope) noexcept {
  if (thief == 0 || depth_.load(base::relaxed) >= kMaxHelp) return false;  // relaxed: our own
  Place& other = places_.at(static_cast<int>(thief) - 1);
  Forked* child = nullptr;
  if (other.deque_.steal(child) != queue::Steal::kTaken) return false;
  if (other.runs(scope)) {
    run(*child, other);
  } else {
    child->run(*child, nullptr, other);
  }
  return true;
}

// Before a sleep: to be woken when the thief shares. True: there is something to steal already.
bool Place::watch(std::uint32_t thief) noexcept {
  if (thief == 0 || depth_.load(base::relaxed) >= kMaxHelp) return false;  // relaxed: our own
  Place& other = places_.at(static_cast<int>(thief) - 1);
  // [F5] seq_cst: before the look at what is public ([D8]); pairs with the load in `share`.
  other.helper_.store(static_cast<std::uint32_t>(id_) + 1, base::seq_cst);
  other.deque_.want();
  return !other.deque_.nothing_public();
}

Joined Place::wait(Forked& stolen) noexcept {
  std::int64_t until = 0;
  for (;;) {
    run_own();  // only what was forked after `stolen` can be here
    if (const Joined state = stolen.join.state(); state >= Joined::kReturned) return state;
    const std::uint32_t thief = stolen.join.thief();
    if (help(thief, &stolen)) {
      until = 0;
      continue;
    }
    const std::int64_t now = base::monotonic_ns();
    if (until == 0) until = now + places_.spin_ns_;
    if (now < until) {
      for (int i = 0; i < 4; ++i) base::pause();
      continue;
    }
    nap_.prepare();
    if (watch(thief)) continue;
    if (stolen.join.show_sleep()) nap_.sleep();
    until = 0;
  }
}

Places::Places(Idle& idle, int workers, bool shares, std::int64_t spin_ns)
    : idle_{idle}, shares_{shares}, spin_ns_{spin_ns} {
  for (int i = 0; i < workers; ++i) workers_.push_back(std::make_unique<Place>(*this, i, shares));
}

Place& Places::at(int id) noexcept {
  const auto workers = static_cast<int>(workers_.size());
  if (id < workers) return of_worker(id);
  return *guests_[static_cast<std::size_t>(id - workers)].load(base::relaxed);  // relaxed: the number came by [F3]
}

// [F6] seq_cst: a parker's last look covers the place of each worker that has pushed before it showed itself.
int Places::used() const noexcept { return used_.load(base::seq_cst); }

int Places::guests() const noexcept {
  // [F6] acquire: pairs with the release in `enter`.
  return static_cast<int>(guest_count_.load(base::acquire));
}

// The k-th of the places in use: workers first.
Place& Places::nth(int k, int used) noexcept {
  return k < used ? of_worker(k) : at(k - used + static_cast<int>(workers_.size()));
}

Place* Places::enter() {
  const std::uint32_t made = guest_count_.load(base::acquire);  // [F6] acquire: as above
  for (std::uint32_t i = 0; i < made; ++i) {
    Place* place = guests_[i].load(base::relaxed);  // relaxed: ordered by [F6]
    // relaxed: only a hint, the exchange decides.
    if (!place->taken_.load(base::relaxed) && !place->taken_.exchange(true, base::acquire))
      return place;  // [F7] acquire
  }
  const std::lock_guard lock{guests_mutex_};
  const std::size_t i = guest_owners_.size();
  if (i == kMaxGuests) return nullptr;
  const int id = static_cast<int>(workers_.size() + i);
  Place* place = guest_owners_.emplace_back(std::make_unique<Place>(*this, id, shares_)).get();
  place->taken_.store(true, base::relaxed);  // relaxed (both): published by the next line
  guests_[i].store(place, base::relaxed);
  guest_count_.store(static_cast<std::uint32_t>(i + 1), base::release);  // [F6] release: the place is made
  return place;
}

void Places::leave(Place& place) noexcept {
  place.run_own();
  place.taken_.store(false, base::release);  // [F7] release: what we did here, for the next guest
}

Forked* Places::steal_any(Place& thief, base::Random& random, Place*& owner) noexcept {
  const int workers = used(), n = workers + guests();
  const auto first = static_cast<int>(random.below(static_cast<std::uint32_t>(n)));
  for (int i = 0; i < n; ++i) {
    Place& victim = nth((first + i) % n, workers);
    if (&victim == &thief) continue;
    Forked* child = nullptr;
    queue::Steal how{};
    while ((how = victim.deque_.steal(child)) == queue::Steal::kLost) base::pause();
    if (how != queue::Steal::kTaken) continue;
    owner = &victim;
    return child;
  }
  return nullptr;
}

bool Places::sees_work() noexcept {
  if (!shares_) return false;
  const int workers = used(), n = workers + guests();
  for (int i = 0; i < n; ++i) {
    Place& place = nth(i, workers);
    place.deque_.want();
    if (!place.deque_.nothing_public()) return true;
  }
  return false;
}

}  // namespace tailrace::sched
