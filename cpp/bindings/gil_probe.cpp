#include "gil_probe.hpp"

#include <utility>

#include "tailrace/base/thread_clock.hpp"

namespace tailrace::bindings {

struct GilProbe::Owner {
  base::ThreadClock clock = base::ThreadClock::of_this_thread();
  std::int64_t computed_ns = 0;  // by its clock, when somebody last looked
  std::int64_t idle_ns = 0;      // the GIL was free, and the body did not compute
};

namespace {

// Of every thread that runs bodies; who looks reads it while the owner is in the body.
template <class Owner>
Owner& own() {
  thread_local Owner owner;
  return owner;
}

}  // namespace

bool GilProbe::is_own() const noexcept { return owner_ == &own<Owner>(); }

bool GilProbe::begin() noexcept {
  if (is_under_way()) return false;
  seen_ = {};
  looked_ = false;
  owner_ = &own<Owner>();
  owner_->computed_ns = owner_->clock.now_ns();
  owner_->idle_ns = 0;
  asked_ns_.store(0, base::relaxed);
  under_way_.store(true, base::relaxed);
  return true;
}

// What the body has computed while somebody waited for the GIL it has computed with it; what it has computed while the
// GIL was free, without it.
void GilProbe::count(std::int64_t ns, bool was_free) noexcept {
  const std::int64_t computed_ns = owner_->clock.now_ns();
  const std::int64_t since = computed_ns - std::exchange(owner_->computed_ns, computed_ns);
  if (!was_free) return void(seen_.inside_ns += since);
  if (ns < kFreeNs) return;  // the first look: what was before it nobody saw
  seen_.outside_ns += since;
  owner_->idle_ns += ns - since;
}

GilProbe::Seen GilProbe::end() noexcept {
  under_way_.store(false, base::relaxed);
  if (asked_ns_.load(base::relaxed) != 0) count(0, false);  // whoever waits for the GIL while we have it waits for us
  // A body that mostly sleeps is not judged by the rest of it.
  const bool sleeps = owner_->idle_ns > seen_.inside_ns + seen_.outside_ns;
  return sleeps && seen_.outside_ns <= seen_.inside_ns ? Seen{} : seen_;
}

}  // namespace tailrace::bindings
