// A queue of std::function behind a mutex and a condition variable, two workers.
#include <atomic>
#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>

#include "workload.hpp"

int main(int argc, char** argv) {
  const bench::Options options = bench::parse(argc, argv);
  std::mutex mutex;
  std::condition_variable work;
  std::deque<std::function<void()>> queue;
  bool stop = false;
  const auto loop = [&] {
    std::unique_lock lock{mutex};
    for (;;) {
      work.wait(lock, [&] { return stop || !queue.empty(); });
      if (queue.empty()) return;
      const std::function<void()> task = std::move(queue.front());
      queue.pop_front();
      lock.unlock();
      task();
      lock.lock();
    }
  };
  std::thread first{loop}, second{loop};
  std::atomic<std::int64_t> ran{0};
  const auto give = [&] {
    {
      const std::lock_guard lock{mutex};
      queue.push_back([&ran] { ran.fetch_add(1); });
    }
    work.notify_one();
  };
  bench::trickle::measure("mutex pool", options, give, [&] { return ran.load(); });
  {
    const std::lock_guard lock{mutex};
    stop = true;
  }
  work.notify_all();
  first.join();
  second.join();
}
