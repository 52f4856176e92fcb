#include "tailrace/sched/blocking_lane.hpp"

#include <algorithm>
#include <chrono>
#include <system_error>
#include <utility>

#include "tailrace/base/clock.hpp"
#include "tailrace/pool/memory_pool.hpp"

namespace tailrace::sched {

namespace {

thread_local const BlockingLane* own_lane = nullptr;  // the lane whose thread this is
thread_local bool is_returning = false;               // counted in its `returning_`

}  // namespace

BlockingLane::BlockingLane(std::string name, int max_threads, ThreadHooks hooks, std::int64_t keep_idle_ns)
    : name_{std::move(name)}, max_threads_{max_threads}, hooks_{std::move(hooks)}, keep_idle_ns_{keep_idle_ns} {}

BlockingLane::~BlockingLane() {
  stop_begin(false);
  stop_wait(base::kNever);
}

bool BlockingLane::submit(Item* item) {
  std::unique_lock lock{mutex_};
  if (stopping_) return false;
  queue_.push_back(item);
  // An idle thread may already be promised to an earlier item, so compare with the whole queue.
  if (static_cast<int>(queue_.size()) <= idle_ + returning_ || alive_ == max_threads_) {
    const bool wakes = idle_ > 0 && !std::exchange(waking_, true);
    lock.unlock();
    if (wakes) wake_.notify_one();
    return true;
  }
  reap();
  try {
    threads_.emplace_back(name_ + "-b" + std::to_string(made_), [this] { serve(); });
  } catch (const std::system_error&) {  // the machine has no thread left: those that live will come to it
    if (alive_ > 0) return true;
    queue_.pop_back();
    return false;
  }
  ++made_;
  peak_ = std::max(peak_, ++alive_);
  return true;
}

void BlockingLane::serve() {
  own_lane = this;
  if (hooks_.on_start) hooks_.on_start();
  std::unique_lock lock{mutex_};
  for (;;) {
    if (!queue_.empty()) {
      Item* item = queue_.front();
      queue_.pop_front();
      const bool wakes = !queue_.empty() && idle_ > 0 && !std::exchange(waking_, true);
      lock.unlock();
      if (wakes) wake_.notify_one();
      item->run(nullptr);
      pool::flush_remote_frees();
      lock.lock();
      if (std::exchange(is_returning, false)) --returning_;
      continue;
    }
    if (stopping_) break;
    ++idle_;
    const auto woken = wake_.wait_for(lock, std::chrono::nanoseconds{keep_idle_ns_});
    --idle_;
    waking_ = false;
    if (woken == std::cv_status::timeout && queue_.empty()) break;
  }
  if (--alive_ <= 1) gone_.notify_all();
  lock.unlock();
  if (hooks_.on_stop) hooks_.on_stop();
}

void BlockingLane::returning() {
  if (std::exchange(is_returning, true)) return;
  const std::lock_guard lock{mutex_};
  ++returning_;
}

// Joins the threads that left after a quiet while. The lock is held.
void BlockingLane::reap() {
  if (threads_.size() < 2 * static_cast<std::size_t>(alive_) + 8) return;
  std::erase_if(threads_, [](Thread& thread) { return thread.finished() && thread.join_until(base::kNever); });
}

void BlockingLane::stop_begin(bool cancel_queued) {
  std::deque<Item*> cancelled;
  {
    const std::lock_guard lock{mutex_};
    stopping_ = true;
    if (cancel_queued) cancelled.swap(queue_);
  }
  wake_.notify_all();
  for (Item* item : cancelled) item->complete(base::Outcome::kCancelled);
}

bool BlockingLane::stop_wait(std::int64_t deadline_ns) {
  std::vector<Thread> threads;
  {
    // The count, not the list: another caller may have the list, and joins what stands in it.
    std::unique_lock lock{mutex_};
    const auto gone = [this] { return alive_ == (own_lane == this ? 1 : 0); };  // a thread does not wait for itself
    if (deadline_ns == base::kNever) {
      gone_.wait(lock, gone);
    } else {
      gone_.wait_for(lock, std::chrono::nanoseconds{deadline_ns - base::monotonic_ns()}, gone);
    }
    threads.swap(threads_);
  }
  std::erase_if(threads, [deadline_ns](Thread& thread) { return thread.join_until(deadline_ns); });
  const std::lock_guard lock{mutex_};
  // Who is late still uses this lane: kept, so that a later call, or the destructor, waits for it.
  for (Thread& thread : threads) threads_.push_back(std::move(thread));
  return threads.empty() && alive_ == 0;
}

std::vector<std::string> BlockingLane::late() const {
  const std::lock_guard lock{mutex_};
  std::vector<std::string> names;
  for (const Thread& thread : threads_) {
    if (!thread.finished()) names.push_back(thread.name());
  }
  return names;
}

BlockingStatistics BlockingLane::statistics() const {
  const std::lock_guard lock{mutex_};
  return {alive_, idle_, static_cast<std::int64_t>(queue_.size()), peak_};
}

}  // namespace tailrace::sched
