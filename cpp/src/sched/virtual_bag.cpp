#include "tailrace/sched/virtual_bag.hpp"

#include <algorithm>
#include <utility>

namespace tailrace::sched {

namespace {

Item* take_at(std::vector<Item*>& bag, std::size_t place) {
  std::swap(bag[place], bag.back());
  Item* item = bag.back();
  bag.pop_back();
  return item;
}

}  // namespace

Item* VirtualBag::take_gated(GatedLane& lane) {
  while (Item* item = lane.pop()) gated_.push_back(item);
  if (gated_.empty()) return nullptr;
  const auto rank = [](const Item* item) { return std::pair{GatedLane::class_of(item), item->deadline_ns}; };
  auto best = rank(gated_.front());
  for (const Item* item : gated_) best = std::min(best, rank(item));
  std::vector<std::size_t> places;
  for (std::size_t i = 0; i < gated_.size(); ++i) {
    if (rank(gated_[i]) == best) places.push_back(i);
  }
  return take_at(gated_, places[random_.below(static_cast<std::uint32_t>(places.size()))]);
}

Item* VirtualBag::take_open(OpenLane& lane, Priority priority) {
  const auto c = static_cast<std::size_t>(priority);
  std::vector<Item*>& bag = open_[c];
  for (Item* item = lane.take_pushed(c); item != nullptr; item = item->next) bag.push_back(item);
  return bag.empty() ? nullptr : take_at(bag, random_.below(static_cast<std::uint32_t>(bag.size())));
}

Item* VirtualBag::take_blocking() {
  if (blocking_.empty()) return nullptr;
  return take_at(blocking_, random_.below(static_cast<std::uint32_t>(blocking_.size())));
}

void VirtualBag::complete_all(base::Outcome outcome) {
  for (Item* item : std::exchange(gated_, {})) item->complete(outcome);
  for (auto& bag : open_) {
    for (Item* item : std::exchange(bag, {})) item->complete(outcome);
  }
  for (Item* item : std::exchange(blocking_, {})) item->complete(outcome);
}

}  // namespace tailrace::sched
