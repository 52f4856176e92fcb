// The pool that everybody writes: a queue of std::function behind a mutex, no helping.
#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

#include "workload.hpp"

namespace {

class Pool {
 public:
  explicit Pool(int workers) {
    for (int i = 0; i < workers; ++i) threads_.emplace_back([this, i] { loop(i); });
  }
  ~Pool() {
    {
      const std::lock_guard lock{mutex_};
      stop_ = true;
    }
    work_.notify_all();
    for (std::thread& thread : threads_) thread.join();
  }
  void submit(std::function<void(int)> task) {
    {
      const std::lock_guard lock{mutex_};
      queue_.push_back(std::move(task));
      ++open_;
    }
    work_.notify_one();
  }
  void wait() {
    std::unique_lock lock{mutex_};
    idle_.wait(lock, [this] { return open_ == 0; });
  }

 private:
  void loop(int worker) {
    std::unique_lock lock{mutex_};
    for (;;) {
      work_.wait(lock, [this] { return stop_ || !queue_.empty(); });
      if (queue_.empty()) return;
      const std::function<void(int)> task = std::move(queue_.front());
      queue_.pop_front();
      lock.unlock();
      task(worker);
      lock.lock();
      if (--open_ == 0) idle_.notify_one();
    }
  }

  std::mutex mutex_;
  std::condition_variable work_;
  std::condition_variable idle_;
  std::deque<std::function<void(int)>> queue_;
  std::int64_t open_ = 0;
  bool stop_ = false;
  std::vector<std::thread> threads_;
};

using bench::submit::Count;

void one_by_one(const bench::Options& options) {
  Pool pool{1};
  pool.submit([](int) { bench::pin_this_thread(1); });
  Count count;
  const auto run = [&](int tasks) {
    const std::int64_t before = count.read();
    for (int i = 0; i < tasks; ++i) pool.submit([&count](int) { count.add(); });
    pool.wait();
    return count.read() - before;
  };
  std::thread producer{[&] {
    bench::pin_this_thread(0);
    bench::submit::measure("submit", "mutex pool", options, run);
  }};
  producer.join();
}

void two_by_two(const bench::Options& options) {
  Pool pool{2};
  Count counts[2];
  const auto half = [&](int, int tasks) {
    for (int i = 0; i < tasks; ++i) pool.submit([&counts](int worker) { counts[worker].add(); });
  };
  const auto finish = [&] { return pool.wait(), counts[0].read() + counts[1].read(); };
  bench::submit::measure_two_by_two("mutex pool", options, half, finish);
}

}  // namespace

int main(int argc, char** argv) {
  const bench::Options options = bench::parse(argc, argv);
  one_by_one(options);
  two_by_two(options);
}
