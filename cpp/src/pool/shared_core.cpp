#include "tailrace/pool/shared_core.hpp"

#include <thread>

namespace tailrace::pool {

namespace {

constexpr int kLooks = 1000;  // at a segment where others are claiming too
constexpr std::uint64_t kTrimBytes = std::uint64_t{32} << 20;  // out of others' reach at a time

}  // namespace

void SharedCore::check_usable() const {
  if (closed()) throw SharedPoolError{SharedFault::kClosed};
  if (!is_part()) throw SharedPoolError{SharedFault::kForked};
}

SharedClaim SharedCore::claim(std::uint32_t granules) {
  SharedClaim found = segment_.ledger().claim(own_.slot, granules);
  for (int look = 0; !found && found.contended && look < kLooks; ++look) {
    std::this_thread::yield();
    found = segment_.ledger().claim(own_.slot, granules);
  }
  return found;
}

SharedBlock SharedCore::allocate(std::size_t bytes) {
  check_usable();
  if (!segment_.writable()) throw SharedPoolError{SharedFault::kReadOnly};
  if (bytes == 0) throw std::invalid_argument{"a block of a shared pool has at least 1 byte"};
  SharedClaim found;
  if (bytes <= segment_.limit_bytes()) {
    const auto granules = static_cast<std::uint32_t>((bytes + segment_.granule_bytes() - 1) / segment_.granule_bytes());
    found = claim(granules);
    if (!found && reap() > 0) found = claim(granules);
  }
  if (!found) {
    n_exhausted_.fetch_add(1, base::relaxed);
    return {};
  }
  {
    const std::lock_guard lock{mutex_};
    const auto [count, fresh] = held_.try_emplace(found.head, 1);
    if (!fresh || !segment_.ledger().publish(own_.slot, found, bytes)) {
      if (fresh) held_.erase(count);
      throw SharedPoolError{SharedFault::kNoPool};
    }
  }
  n_alloc_.fetch_add(1, base::relaxed);
  return {shared_from_this(), found.head, segment_.data() + std::size_t{found.head} * segment_.granule_bytes(), bytes,
          true};
}

SharedHandle SharedCore::share(std::uint32_t head, std::size_t bytes, bool until_opened) {
  if (!is_part()) throw SharedPoolError{SharedFault::kForked};
  SharedHandle handle{.segment = segment_.id(),
                      .offset = std::uint64_t{head} * segment_.granule_bytes(),
                      .serial = segment_.ledger().serial(head),
                      .bytes = bytes};
  if (!until_opened) return handle;
  const unsigned holder = courier();
  if (holder == kNone) throw SharedPoolError{SharedFault::kFull};
  segment_.ledger().hold_for(holder, head);
  handle.courier = holder + 1;
  return handle;
}

SharedBlock SharedCore::open(const SharedHandle& handle, bool writable) {
  check_usable();
  if (handle.segment != segment_.id()) throw SharedPoolError{SharedFault::kForeign};
  if (writable && !segment_.writable()) throw SharedPoolError{SharedFault::kReadOnly};
  if (handle.offset % segment_.granule_bytes() != 0 || handle.offset >= segment_.limit_bytes() || handle.serial == 0 ||
      handle.bytes == 0 || handle.bytes > segment_.limit_bytes() - handle.offset || handle.courier > kSharedSlots) {
    throw SharedPoolError{SharedFault::kBad};
  }
  const auto head = static_cast<std::uint32_t>(handle.offset / segment_.granule_bytes());
  SharedLedger& ledger = segment_.ledger();
  {
    const std::lock_guard lock{mutex_};
    const auto [count, fresh] = held_.try_emplace(head, 0);
    if (!(fresh ? ledger.open(own_.slot, head, handle.serial) : ledger.is_owned(head, handle.serial))) {
      if (fresh) held_.erase(count);
      n_stale_.fetch_add(1, base::relaxed);
      throw SharedPoolError{SharedFault::kStale};
    }
    if (ledger.bytes(head) != handle.bytes) {
      if (fresh) {
        ledger.drop(own_.slot, head);
        held_.erase(count);
      }
      throw SharedPoolError{SharedFault::kBad};
    }
    ++count->second;
    // What the slots are used as is looked at, so that a handle made up by somebody cannot end a participant's hold.
    const auto courier = static_cast<unsigned>(handle.courier) - 1;
    if (handle.courier != 0 &&
        segment_.slot(courier).state.load(base::relaxed) == static_cast<std::uint64_t>(SlotUse::kCourier)) {
      ledger.end_hold_of(courier, head);
    }
  }
  n_open_.fetch_add(1, base::relaxed);
  std::byte* data = (writable ? segment_.data() : segment_.data_for_reading()) + handle.offset;
  return {shared_from_this(), head, data, handle.bytes, writable};
}

void SharedCore::drop(std::uint32_t head) noexcept {
  const std::lock_guard lock{mutex_};
  const auto count = held_.find(head);
  if (--count->second > 0) return;
  held_.erase(count);
  if (is_part()) segment_.ledger().drop(own_.slot, head);
}

std::size_t SharedCore::trim() {
  if (!is_part() || !segment_.writable()) return 0;
  const auto most = static_cast<std::uint32_t>(std::max<std::uint64_t>(1, kTrimBytes / segment_.granule_bytes()));
  std::size_t looked_through = 0;
  for (std::uint32_t from = 0;;) {
    const SharedClaim found = segment_.ledger().claim_free(own_.slot, from, most);
    if (!found) return looked_through;
    segment_.discard(found.head, found.granules);
    segment_.ledger().unclaim(found);
    from = found.head + found.granules;
    looked_through += std::size_t{found.granules} * segment_.granule_bytes();
  }
}

SharedStatistics SharedCore::statistics() const {
  SharedStatistics s;
  std::uint64_t couriers = 0;
  for (unsigned i = 0; i < kSharedSlots; ++i) {
    const auto use = static_cast<SlotUse>(segment_.slot(i).state.load(base::relaxed));  // relaxed: a recent state
    s.participants += use == SlotUse::kParticipant;
    if (use == SlotUse::kCourier) couriers |= SharedLedger::bit(i);
  }
  const SharedSurvey survey = segment_.ledger().survey(couriers);
  s.limit_bytes = segment_.limit_bytes();
  s.granule_bytes = segment_.granule_bytes();
  s.used_bytes = survey.used_granules * segment_.granule_bytes();
  s.largest_free_bytes = survey.largest_free_granules * segment_.granule_bytes();
  s.blocks = survey.blocks;
  s.in_transit = survey.in_transit;
  {
    const std::lock_guard lock{mutex_};
    s.held_blocks = held_.size();
  }
  s.n_alloc = n_alloc_.load(base::relaxed);
  s.n_open = n_open_.load(base::relaxed);
  s.n_stale = n_stale_.load(base::relaxed);
  s.n_exhausted = n_exhausted_.load(base::relaxed);
  s.n_reaped = n_reaped_.load(base::relaxed);
  s.reclaimed_blocks = reclaimed_.load(base::relaxed);
  return s;
}

}  // namespace tailrace::pool
