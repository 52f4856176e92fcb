#include "tailrace/pool/core.hpp"

#include <algorithm>
#include <cstring>
#include <limits>
#include <utility>

#include "tailrace/base/check.hpp"
#include "tailrace/base/membarrier.hpp"
#include "tailrace/pool/purge.hpp"

namespace tailrace::pool {

namespace {

constexpr int kPatience = 500;  // looks at a cache whose owner is inside, most of them yields
constexpr int kRounds = 200;    // of them, where a visit must not be missed
constexpr std::int64_t kLeastQuietNs = 20'000'000;  // some passes, however short the decay
constexpr std::int64_t kLongestDecayNs = std::numeric_limits<std::int64_t>::max() / 8;
constexpr std::size_t kHugePagesFrom = std::size_t{8} << 20;

std::uint64_t next_id() noexcept {
  static base::atomic<std::uint64_t> last{0};
  return last.fetch_add(1, base::relaxed) + 1;  // relaxed: a number of its own is all that is asked
}

bool wants_huge_pages(const PoolOptions& options) noexcept {
  return options.huge_pages == HugePages::kAutomatic && options.limit_bytes >= kHugePagesFrom;
}

PoolOptions rounded(PoolOptions options) {
  static const bool made = (link_secret = random_secret(), true);
  (void)made;
  const std::size_t grain = wants_huge_pages(options) ? kUnitBytes : kSliceBytes;
  options.limit_bytes = (options.limit_bytes + grain - 1) / grain * grain;
  options.decay_ns = std::min(options.decay_ns, kLongestDecayNs);
  options.hardened = options.hardened || hardened_by_environment();
  return options;
}

}  // namespace

Core::Core(const PoolOptions& options)
    : id_{next_id()},
      key_{options.hardened || hardened_by_environment() ? kNoHits : id_},
      range_{rounded(options).limit_bytes, wants_huge_pages(options)},
      options_{rounded(options)},
      central_{options_.cache_bytes / 2},
      hardened_{options_.hardened ? new Hardened{options_} : nullptr},
      purge_rests_{decays()},
      stray_{range_, central_, *options_.clock, options_.cache_bytes, base::membarrier_works()} {
  set_watched();
}

Core::~Core() {
  for (Entry* entry = entries_.load(base::relaxed); entry != nullptr;) delete std::exchange(entry, entry->next);
}

template <class Visit>
void Core::visit_caches(Visit&& visit) noexcept {
  const auto one = [&](ThreadCache& cache) {
    if (!cache.lock().visit(kPatience)) return;
    visit(cache);
    cache.lock().end_visit();
  };
  // [PE2] acquire: the entry's fields; pairs with [PE1].
  for (Entry* entry = entries_.load(base::acquire); entry != nullptr; entry = entry->next) {
    if (!entry->lost) one(entry->cache);
  }
  one(stray_);
}

// ---- shortage ----

// The huge class stands for any run of just the slices that `bytes` need.
void* Core::take(std::size_t size_class, std::size_t bytes, bool at_unit) noexcept {
  ThreadCache* cache = mine();
  std::unique_lock<std::mutex> stray{stray_mutex_, std::defer_lock};
  if (cache == nullptr) {
    stray.lock();
    if (stray_lost_) return nullptr;
    cache = &stray_;
  }
  cache->lock().enter();
  std::byte* memory = size_class == kHugeClass ? cache->take_huge(slices_for(bytes)) : cache->take(size_class, at_unit);
  cache->lock().leave();
  if (!stray.owns_lock() && cache->lock().may_open_quick_way()) stir(cache, false);
  return memory;
}

void* Core::allocate_slowly(std::size_t size_class, std::size_t bytes, std::size_t alignment) noexcept {
  if (hardened_ != nullptr) return allocate_hardened(bytes, alignment);
  if (closed()) return nullptr;
  // Whole units begin at one, whichever way they are taken.
  if (alignment > kSliceBytes && bytes <= options_.limit_bytes) {
    bytes = std::max<std::size_t>(bytes + kUnitBytes - 1, kUnitBytes) / kUnitBytes * kUnitBytes;
  }
  return allocate_anew(size_class, bytes, alignment > kSliceBytes);
}

void* Core::allocate_anew(std::size_t size_class, std::size_t bytes, bool at_unit) noexcept {
  const std::size_t slices = size_class < kSlabClasses ? slab_slices(size_class) : slices_for(bytes);
  const bool possible = bytes <= options_.limit_bytes;
  void* memory = possible ? take(size_class, bytes, at_unit) : nullptr;
  if (memory != nullptr) return memory;
  shortages_.fetch_add(1, base::relaxed);
  for (int round = 0; possible && memory == nullptr && round < 3; ++round) {
    reclaim(slices * kSliceBytes);
    memory = take(size_class < kSlabClasses ? size_class : kHugeClass, bytes, at_unit);  // not rounded up to a class
  }
  if (memory == nullptr) exhaustions_.fetch_add(1, base::relaxed);
  used_bytes();  // which notes the peak
  return memory;
}

// All that is free anywhere comes back to the range, and so much of that goes back to the system that `needed_bytes` fit
// into the budget.
void Core::reclaim(std::size_t needed_bytes) noexcept {
  const std::lock_guard<std::mutex> hold{purge_mutex_};
  release_runs(true);
  const std::int64_t now_ns = options_.clock->now_ns();
  visit_caches([](ThreadCache& cache) { cache.send_outgoing(true); });
  visit_caches([now_ns](ThreadCache& cache) { cache.flush(now_ns); });
  empty_central(true, now_ns);
  // With huge pages a run may make up to a unit at each end resident.
  const std::size_t room = std::min(options_.limit_bytes, needed_bytes + 2 * kUnitBytes);
  give_back(options_.limit_bytes - room);
}

void Core::empty_central(bool all, std::int64_t freed_ns) noexcept {
  for (std::size_t size_class = kSlabClasses; size_class < kHugeClass; ++size_class) {
    while (std::byte* block = central_.take_unused(size_class, all)) {
      range_.give(range_.offset(block) >> kSliceShift, run_slices(size_class), freed_ns);
    }
    central_.begin_interval(size_class);
  }
}

Shortage Core::shortage(std::size_t bytes) const noexcept {
  const std::size_t used = used_bytes(), taken = range_.taken_bytes();
  return {.bytes = bytes,
          .limit_bytes = options_.limit_bytes,
          .used_bytes = used,
          .cached_bytes = taken - std::min(taken, used),
          .largest_free_bytes = range_.gaps().largest_bytes,
          .closed = closed()};
}

std::size_t Core::check() noexcept {
  std::size_t seen = 0;
  if (hardened_ == nullptr) return seen;
  const std::lock_guard<std::mutex> hold{purge_mutex_};
  visit_caches([&](ThreadCache& cache) { seen += cache.look_at_quarantine(); });
  hardened_->runs.see([&](const RunQuarantine::Held& held) {
    Hardened::look(held.block, held.room);
    ++seen;
  });
  return seen;
}

// ---- frees that are not hits ----

void Core::give_slowly(std::byte* block) noexcept {
  const std::size_t size_class = range_.class_at(range_.offset(block));
  ThreadCache* cache = mine();
  if (cache != nullptr) {
    cache->lock().enter();
    cache->give(size_class, block);
    cache->lock().leave();
  } else {
    const std::lock_guard<std::mutex> hold{stray_mutex_};
    if (stray_lost_) return;
    stray_.lock().enter();
    stray_.give(size_class, block);
    stray_.send_outgoing(false);
    stray_.lock().leave();
  }
  if (watched_.load(base::relaxed) || (cache != nullptr && cache->lock().may_open_quick_way())) stir(cache, true);
}

void Core::give_special(void* block) noexcept {
  if (block == nullptr) return;
  if (!range_.contains(block)) end_with({"a memory pool was given a pointer that is not from it", block});
  if (!range_.is_live(range_.offset(block))) {
    end_with(
        {"a memory pool was given a pointer that no live block begins at: freed twice, or inside of a block", block});
  }
  if (range_.live().is_secret(block)) {
    explicit_bzero(block, usable_bytes(block));
    range_.live().set(block);
    if (hardened_ == nullptr) return deallocate(block);
  }
  free_hardened(static_cast<std::byte*>(block));
}

std::size_t Core::usable_bytes(const void* block) const noexcept {
  const std::size_t offset = range_.offset(block);
  TAILRACE_CHECK(range_.is_live(offset), "no live block of the memory pool begins there");
  if (hardened_ != nullptr) return hardened_->bytes_of(static_cast<const std::byte*>(block), room_of(block));
  const Slab& slab = range_.slab_of(offset);
  return slab.size_class < kSlabClasses ? slab.block_bytes : slab.slices * kSliceBytes;
}

// Something has happened in a cache, whose quick way in is closed, or on a way that never is quick.
void Core::stir(ThreadCache* cache, bool freed) noexcept {
  if (purge_rests_.load(base::relaxed) && purge_rests_.exchange(false, base::relaxed)) wake_purge();
  const std::lock_guard<std::mutex> hold{listeners_mutex_};
  set_watched();
  for (FreeListener* listener : listeners_) {
    if (freed) listener->on_free();
  }
  if (cache != nullptr && cache->lock().may_open_quick_way() && !watched_.load(base::relaxed)) {
    cache->lock().open_quick_way();
  }
}

// With the listeners' mutex, but in the constructor.
void Core::set_watched() noexcept {
  watched_.store(!listeners_.empty() || purge_rests_.load(base::relaxed), base::relaxed);
}

// What happens in any cache from here on is told to `stir`; what happened before is seen. With the listeners' mutex. False: a
// cache was in use, for a moment or, if `patiently`, for longer than a thread is ever paused.
bool Core::close_quick_ways(bool patiently) noexcept {
  bool all = true;
  // [PE2] acquire: the entry's fields; pairs with [PE1]. A cache that is not seen begins with its quick way closed.
  for (Entry* entry = entries_.load(base::acquire); entry != nullptr; entry = entry->next) {
    OwnerLock<>& lock = entry->cache.lock();
    int rounds = entry->lost ? 0 : patiently ? kRounds : 1;
    while (rounds != 0 && !lock.visit(kPatience)) --rounds;
    lock.close_quick_way();
    if (rounds != 0) {
      lock.end_visit();
    } else if (!entry->lost) {
      all = false;
    }
  }
  const std::lock_guard<std::mutex> hold{stray_mutex_};  // the strays' way is never quick
  return all;
}

void Core::close() noexcept {
  closed_.store(true, base::relaxed);
  key_.store(kNoHits, base::relaxed);
  check();
  const std::lock_guard<std::mutex> hold{listeners_mutex_};  // who listens from now on sees that it is closed
  for (FreeListener* listener : listeners_) listener->on_free();
}

void Core::listen(FreeListener& listener) {
  const std::lock_guard<std::mutex> hold{listeners_mutex_};
  listeners_.push_back(&listener);
  set_watched();
  close_quick_ways(true);
}

void Core::unlisten(FreeListener& listener) noexcept {
  const std::lock_guard<std::mutex> hold{listeners_mutex_};
  std::erase(listeners_, &listener);
}

// ---- decay ----

std::size_t Core::purge() noexcept {
  const std::lock_guard<std::mutex> hold{purge_mutex_};
  const std::int64_t now_ns = options_.clock->now_ns(), decay_ns = std::max<std::int64_t>(options_.decay_ns, 0);
  const std::uint64_t operations_now = operations();
  if (operations_now != std::exchange(operations_at_pass_, operations_now)) quiet_since_ns_ = now_ns;
  const std::int64_t passed_ns = now_ns - std::exchange(last_pass_ns_, now_ns);
  // What was taken in the last ten seconds or so is likely to be wanted again, as long as anything is.
  range_.let_peak_fall(static_cast<double>(passed_ns) / 10e9);
  const bool quiet = now_ns - quiet_since_ns_ >= decay_ns;
  const std::size_t keep = std::max({options_.min_retained_bytes, reserved_floor_bytes_.load(base::relaxed),
                                     quiet ? 0 : range_.recent_peak_bytes() / 2});
  const std::int64_t old_ns = now_ns - decay_ns;  // what a cache has kept in vain is old already
  if (quiet) release_runs(true);
  visit_caches([old_ns](ThreadCache& cache) { cache.decay(old_ns); });
  empty_central(false, old_ns);
  std::size_t purged = range_.purge({.units_before_ns = old_ns, .keep_bytes = keep});
  // Parts of units go, at the price of a huge page, while more is retained than used; and what has lain in gaps for a whole
  // interval, beyond what is allowed to.
  if (range_.committed_bytes() > 2 * used_bytes()) {
    purged += range_.purge({.gaps_before_ns = now_ns - 3 * decay_ns, .keep_bytes = keep});
  }
  const std::size_t committed = range_.committed_bytes();
  const std::size_t in_gaps = committed - std::min(committed, range_.taken_bytes());
  const std::size_t excess = std::min(in_gaps, std::exchange(in_gaps_at_pass_, in_gaps));
  if (excess > range_.allowed_gaps()) {
    const std::size_t less = std::max(keep, committed - (excess - range_.allowed_gaps()));
    purged += range_.purge({.gaps_before_ns = kAnyAge, .least_gap = 8, .keep_bytes = less});
  }
  return purged;
}

// Whole units first, so that no huge page is broken without need.
std::size_t Core::give_back(std::size_t keep_bytes) noexcept {
  const std::size_t units = range_.purge({.units_before_ns = kAnyAge, .keep_bytes = keep_bytes});
  return units + range_.purge({.gaps_before_ns = kAnyAge, .keep_bytes = keep_bytes});
}

bool Core::rest() noexcept {
  if (!decays()) return true;
  std::uint64_t counted = 0;
  {
    const std::lock_guard<std::mutex> hold{purge_mutex_};
    counted = operations_at_pass_;
    if (last_pass_ns_ - quiet_since_ns_ < std::max(4 * options_.decay_ns, kLeastQuietNs)) return false;
  }
  const std::lock_guard<std::mutex> hold{listeners_mutex_};
  purge_rests_.store(true, base::relaxed);
  set_watched();
  // What came before is in the count that is read now; what comes later is told.
  if (close_quick_ways(false) && operations() == counted) return true;
  purge_rests_.store(false, base::relaxed);
  set_watched();
  return false;
}

std::size_t Core::trim(std::size_t keep_bytes) noexcept {
  const std::lock_guard<std::mutex> hold{purge_mutex_};
  release_runs(true);
  const std::int64_t now_ns = options_.clock->now_ns();
  visit_caches([](ThreadCache& cache) { cache.send_outgoing(true); });
  visit_caches([now_ns](ThreadCache& cache) { cache.flush(now_ns); });
  empty_central(true, now_ns);
  return give_back(range_.taken_bytes() + keep_bytes);
}

std::size_t Core::reserve(std::size_t bytes, bool prefault) {
  const std::size_t wanted = std::min(bytes, options_.limit_bytes);
  std::size_t floor = reserved_floor_bytes_.load(base::relaxed);
  while (floor < wanted && !reserved_floor_bytes_.compare_exchange_weak(floor, wanted, base::relaxed, base::relaxed)) {
  }
  return range_.commit(wanted, options_.clock->now_ns(), prefault);
}

void Core::flush_thread() noexcept {
  ThreadCache* cache = mine();
  if (cache == nullptr) return;
  cache->lock().enter();
  cache->flush(options_.clock->now_ns());
  cache->lock().leave();
}

}  // namespace tailrace::pool
