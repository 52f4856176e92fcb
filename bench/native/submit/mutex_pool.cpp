// The pool that everybody writes: a queue of std::function behind a mutex, one worker, no helping.
#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>

#include "workload.hpp"

namespace {

class Pool {
 public:
  ~Pool() {
    {
      const std::lock_guard lock{mutex_};
      stop_ = true;
    }
    work_.notify_one();
    thread_.join();
  }
  void submit(std::function<void()> task) {
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
  void loop() {
    std::unique_lock lock{mutex_};
    for (;;) {
      work_.wait(lock, [this] { return stop_ || !queue_.empty(); });
      if (queue_.empty()) return;
      const std::function<void()> task = std::move(queue_.front());
      queue_.pop_front();
      lock.unlock();
      task();
      lock.lock();
      if (--open_ == 0) idle_.notify_one();
    }
  }

  std::mutex mutex_;
  std::condition_variable work_;
  std::condition_variable idle_;
  std::deque<std::function<void()>> queue_;
  std::int64_t open_ = 0;
  bool stop_ = false;
  std::thread thread_{[this] { loop(); }};
};

}  // namespace

int main(int argc, char** argv) {
  const bench::Options options = bench::parse(argc, argv);
  Pool pool;
  pool.submit([] { bench::pin_this_thread(1); });
  bench::pin_this_thread(0);
  bench::submit::Count count;
  bench::submit::measure("submit", "mutex pool", options, [&](int tasks) {
    const std::int64_t before = count.read();
    for (int i = 0; i < tasks; ++i) pool.submit([&count] { count.add(); });
    pool.wait();
    return count.read() - before;
  });
}
