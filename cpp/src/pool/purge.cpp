#include "tailrace/pool/purge.hpp"

#include <pthread.h>
#include <signal.h>

#include <algorithm>
#include <cstdint>
#include <mutex>
#include <new>
#include <vector>

#include "tailrace/base/futex.hpp"
#include "tailrace/pool/core.hpp"

namespace tailrace::pool {

namespace {

constexpr std::int64_t kMinPeriodNs = 5'000'000;

struct Pools {
  std::mutex mutex;  // guards what follows
  std::vector<std::weak_ptr<Core>> cores;
  bool running = false;
  base::atomic<std::uint32_t> word{0};  // changed by who has work for the thread, which sleeps on it

  std::vector<std::shared_ptr<Core>> living() {
    std::vector<std::shared_ptr<Core>> found;
    for (const auto& core : cores) {
      if (auto held = core.lock()) found.push_back(std::move(held));
    }
    return found;
  }
};

// Never destroyed: threads outlive the end of main.
Pools& pools() {
  static Pools& all = *new Pools;
  return all;
}

void* run(void*) {
  pthread_setname_np(pthread_self(), "tailrace-purge");
  Pools& all = pools();
  for (;;) {
    // [PW2] acquire: a pool registered before the word was changed is seen; pairs with [PW1].
    const std::uint32_t seen = all.word.load(base::acquire);
    std::int64_t sleep_ns = -1;
    {
      std::vector<std::shared_ptr<Core>> cores;
      {
        const std::lock_guard<std::mutex> hold{all.mutex};
        cores = all.living();
      }
      for (const auto& core : cores) {
        if (!core->decays()) continue;
        core->purge();
        if (core->rest()) continue;
        const std::int64_t period_ns = std::max(kMinPeriodNs, core->options().decay_ns / 2);
        sleep_ns = sleep_ns < 0 ? period_ns : std::min(sleep_ns, period_ns);
      }
    }
    base::StdAtomics::park(all.word, seen, sleep_ns);
  }
  return nullptr;
}

// Signals are for threads that know what to do with them.
void start_thread() {
  sigset_t all_signals, before;
  sigfillset(&all_signals);
  pthread_sigmask(SIG_SETMASK, &all_signals, &before);
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
  pthread_t thread;
  // Without the thread nothing is lost but the decay; the next pool tries again.
  pools().running = pthread_create(&thread, &attributes, run, nullptr) == 0;
  pthread_attr_destroy(&attributes);
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

std::vector<std::shared_ptr<Core>>& held_for_fork() {
  static auto& held = *new std::vector<std::shared_ptr<Core>>;
  return held;
}

void before_fork() {
  pools().mutex.lock();
  held_for_fork() = pools().living();
  for (const auto& core : held_for_fork()) core->lock_for_fork();
}

void unlock() {
  for (const auto& core : held_for_fork()) core->unlock_after_fork();
  pools().mutex.unlock();
  held_for_fork().clear();  // may end a pool, which needs no lock
}

void in_parent() { unlock(); }

void in_child() {
  pools().running = false;
  for (const auto& core : held_for_fork()) core->after_fork();
  unlock();
}

}  // namespace

void register_core(const std::shared_ptr<Core>& core) {
  Pools& all = pools();
  const std::lock_guard<std::mutex> hold{all.mutex};
  static const int registered = pthread_atfork(before_fork, in_parent, in_child);
  (void)registered;
  std::erase_if(all.cores, [](const std::weak_ptr<Core>& one) { return one.expired(); });
  all.cores.push_back(core);
}

void wake_purge() noexcept {
  Pools& all = pools();
  // [PW1] release: the pool that wakes is registered; pairs with [PW2].
  all.word.fetch_add(1, base::release);
  base::StdAtomics::unpark(all.word, 1);
  const std::lock_guard<std::mutex> hold{all.mutex};
  if (!all.running) start_thread();
}

}  // namespace tailrace::pool
