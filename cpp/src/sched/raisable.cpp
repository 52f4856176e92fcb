#include "tailrace/sched/raisable.hpp"

#include "tailrace/sched/scheduler.hpp"

namespace tailrace::sched {

bool RaisableItem::raise(Scheduler& scheduler, Priority to) {
  if (to >= priority || claim_.taken()) return false;
  const auto p = static_cast<std::size_t>(to);
  const auto higher = static_cast<std::uint8_t>((2u << p) - 1);  // `to` and all above it
  std::uint8_t seen = raised_.load(base::relaxed);               // relaxed: a guess; the exchange re-reads it
  do {
    if ((seen & higher) != 0) return false;
    // relaxed: it decides who of several raisers pushes; the push publishes the entry
  } while (
      !raised_.compare_exchange_weak(seen, static_cast<std::uint8_t>(seen | 1u << p), base::relaxed, base::relaxed));
  retain();
  entries_[p].of = this;
  entries_[p].priority = to;
  scheduler.push(&entries_[p]);
  return true;
}

}  // namespace tailrace::sched
