// virtual_bag.hpp -- the queued items of a virtual runtime, taken in an order that the seed draws.
//
// What      One bag for gated items, of which the highest class goes first, one for each class of open items, and one
//           for blocking ones.
// Why       A real runtime may take any item first; a virtual one must be able to show every such order, and replay it.
// Threads   One: whoever drives.
// Checked   tests/python/test_virtual_time.py.
#pragma once

#include <array>
#include <vector>

#include "tailrace/base/random.hpp"
#include "tailrace/sched/item.hpp"
#include "tailrace/sched/lanes.hpp"
#include "tailrace/sched/open_lane.hpp"

namespace tailrace::sched {

using OpenLane = BasicOpenLane<Item, kPriorities>;

class VirtualBag {
 public:
  explicit VirtualBag(std::uint64_t seed) : random_{seed} {}

  base::Random& random() noexcept { return random_; }

  // An item of the highest class in the bag and in `lane`, with the earliest deadline if it has one; or null.
  Item* take_gated(GatedLane& lane);

  // An item of this class in the bag and in `lane`, or null.
  Item* take_open(OpenLane& lane, Priority priority);

  std::int64_t gated_count() const noexcept { return static_cast<std::int64_t>(gated_.size()); }

  void push_blocking(Item* item) { blocking_.push_back(item); }
  Item* take_blocking();

  void complete_all(base::Outcome outcome);

 private:
  base::Random random_;
  std::vector<Item*> gated_;
  std::array<std::vector<Item*>, kPriorities> open_;
  std::vector<Item*> blocking_;
};

}  // namespace tailrace::sched
