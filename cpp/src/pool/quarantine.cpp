#include "tailrace/pool/quarantine.hpp"

#include <algorithm>

namespace tailrace::pool {

Quarantine::Quarantine(std::size_t class_budget_bytes) {
  std::size_t all = 0;
  for (std::size_t c = 0; c < kSlabClasses; ++c) {
    const std::size_t fit = std::clamp(class_budget_bytes / class_bytes(c), kLeastBlocks, kMostBlocks);
    lines_[c].mask = std::bit_floor(fit) - 1;
    all += lines_[c].mask + 1;
  }
  blocks_ = std::make_unique<std::byte*[]>(all);
  std::byte** at = blocks_.get();
  for (Line& line : lines_) {
    line.blocks = at;
    at += line.mask + 1;
  }
}

std::uint64_t Quarantine::operations() const noexcept {
  std::uint64_t sum = 0;
  for (const Line& line : lines_) sum += line.in.read() + line.out.read();
  return sum;
}

RunQuarantine::RunQuarantine(std::size_t budget_bytes)
    : budget_bytes_{budget_bytes}, held_{std::make_unique<Held[]>(kMostBlocks)} {}

bool RunQuarantine::put(Held held) noexcept {
  if (held.held_bytes > budget_bytes_) return false;
  const std::lock_guard<std::mutex> hold{mutex_};
  if (in_ - out_ == kMostBlocks) return false;  // of many small budgets at once: `leave` makes room for the next
  held_[in_++ % kMostBlocks] = held;
  blocks_.fetch_add(1, base::relaxed);
  bytes_.fetch_add(held.held_bytes, base::relaxed);
  frees_.fetch_add(1, base::relaxed);
  return true;
}

RunQuarantine::Held RunQuarantine::leave(bool all) noexcept {
  const std::lock_guard<std::mutex> hold{mutex_};
  const bool too_many = in_ - out_ >= kMostBlocks || bytes() > budget_bytes_;
  if (in_ == out_ || (!all && !too_many)) return {};
  const Held held = held_[out_++ % kMostBlocks];
  blocks_.fetch_sub(1, base::relaxed);
  bytes_.fetch_sub(held.held_bytes, base::relaxed);
  return held;
}

}  // namespace tailrace::pool
