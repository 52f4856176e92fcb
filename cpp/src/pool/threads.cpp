// threads.cpp -- which cache is this thread's: found, adopted, given up, and what a fork leaves of it.
#include <pthread.h>

#include <algorithm>
#include <memory>
#include <new>
#include <vector>

#include "tailrace/base/membarrier.hpp"
#include "tailrace/pool/core.hpp"

namespace tailrace::pool {

thread_local constinit Front front{};
thread_local constinit bool has_outgoing = false;

namespace {

// Set when this thread's caches have been given up; frees in later destructors of the thread are strays.
thread_local constinit bool ended = false;

struct Mine {
  struct Cache {
    std::uint64_t pool;
    std::weak_ptr<Core> core;
    ThreadCache* cache;
  };
  ~Mine() {
    ended = true;
    front = Front{};
    for (Cache& one : caches) {
      if (const auto core = one.core.lock()) core->abandon(*one.cache);
    }
  }
  std::vector<Cache> caches;
};

Mine& mine_of_thread() {
  static thread_local Mine mine;
  return mine;
}

}  // namespace

ThreadCache* Core::find_mine() noexcept {
  if (ended) return nullptr;
  try {
    auto& caches = mine_of_thread().caches;
    const auto found = std::ranges::find(caches, id_, &Mine::Cache::pool);
    ThreadCache* cache = nullptr;
    if (found != caches.end()) {
      cache = found->cache;
    } else {
      std::erase_if(caches, [](const Mine::Cache& one) { return one.core.expired(); });
      caches.reserve(caches.size() + 1);
      cache = &adopt();
      caches.push_back({id_, weak_from_this(), cache});
    }
    front = {.pool = id_, .cache = cache};
    return cache;
  } catch (const std::bad_alloc&) {
    return nullptr;
  }
}

ThreadCache& Core::adopt() {
  // [PE2] acquire: the entry's fields; pairs with [PE1].
  for (Entry* entry = entries_.load(base::acquire); entry != nullptr; entry = entry->next) {
    // relaxed: a look. [PE3] acquire: what the cache's last thread left; pairs with [PE4].
    if (!entry->has_thread.load(base::relaxed) && !entry->has_thread.exchange(true, base::acquire)) return entry->cache;
  }
  std::unique_ptr<Entry> made{
      new Entry{{range_, central_, *options_.clock, options_.cache_bytes, base::membarrier_works()}}};
  if (hardened_ != nullptr) made->cache.harden(options_.quarantine_bytes);
  Entry* entry = made.release();
  entry->next = entries_.load(base::relaxed);  // relaxed: a guess; the exchange re-reads it
  // [PE1] release: the entry's fields; pairs with [PE2]. A failed attempt publishes nothing: relaxed.
  while (!entries_.compare_exchange_weak(entry->next, entry, base::release, base::relaxed)) {
  }
  return entry->cache;
}

void Core::abandon(ThreadCache& cache) noexcept {
  cache.lock().enter();
  cache.flush(options_.clock->now_ns());
  cache.lock().leave();
  for (Entry* entry = entries_.load(base::acquire); entry != nullptr; entry = entry->next) {  // [PE2] acquire
    // [PE4] release: the cache as this thread leaves it; pairs with [PE3].
    if (&entry->cache == &cache) entry->has_thread.store(false, base::release);
  }
}

void Core::lock_for_fork() noexcept {
  purge_mutex_.lock();  // so that no visit, and no loan of slices, is cut off in the middle
  stray_mutex_.lock();
  if (hardened_ != nullptr) hardened_->runs.lock();
}

void Core::unlock_after_fork() noexcept {
  if (hardened_ != nullptr) hardened_->runs.unlock();
  stray_mutex_.unlock();
  purge_mutex_.unlock();
}

void Core::after_fork() noexcept {
  range_.after_fork();
  new (&listeners_mutex_) std::mutex;
  listeners_.clear();
  purge_rests_.store(decays(), base::relaxed);  // the purge thread stayed behind: a free starts another
  set_watched();
  stray_lost_ = stray_lost_ || stray_.lock().torn();
  const auto found = std::ranges::find(mine_of_thread().caches, id_, &Mine::Cache::pool);
  const ThreadCache* mine = found != mine_of_thread().caches.end() ? found->cache : nullptr;
  // relaxed: the child has one thread.
  for (Entry* entry = entries_.load(base::relaxed); entry != nullptr; entry = entry->next) {
    entry->cache.lock().close_quick_way();
    entry->lost = entry->lost || entry->cache.lock().torn();
    if (!entry->lost) {
      entry->has_thread.store(&entry->cache == mine, base::relaxed);
    } else if (&entry->cache == mine) {
      mine_of_thread().caches.erase(found);
      front = Front{};
    }
  }
}

void flush_remote_frees() noexcept {
  if (!has_outgoing || ended) return;
  has_outgoing = false;
  for (Mine::Cache& one : mine_of_thread().caches) {
    const auto core = one.core.lock();
    if (core == nullptr) continue;
    one.cache->lock().enter();
    one.cache->send_outgoing(false);
    one.cache->lock().leave();
  }
}

}  // namespace tailrace::pool
