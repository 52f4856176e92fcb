// cancel.hpp -- who wants to know that a run was cancelled, failed, or came too late.
//
// What      `OnCancel`: as long as it lives, its function is called once if the run ends otherwise than well.
// Why       A body that waits elsewhere (a socket, a device, another process) cannot look at the run's outcome.
// Threads   Any. The call is made by the thread that ends the run, or by the one that asks too late, outside every lock.
//           The destructor waits for a call under way, unless it is made inside that call.
// Checked   tests/cpp/flow/test_runner.cpp, tests/stress/plans.cpp.
#pragma once

#include <condition_variable>
#include <mutex>
#include <thread>

namespace tailrace::flow {

class Run;

class OnCancel {
 public:
  using Function = void (*)(void* arg);

  OnCancel(Run& run, Function function, void* arg);
  OnCancel(const OnCancel&) = delete;
  OnCancel& operator=(const OnCancel&) = delete;
  ~OnCancel();

 private:
  friend class CancelList;

  Run& run_;
  const Function function_;
  void* const arg_;
  OnCancel* next_ = nullptr;
  bool listed_ = false;
};

// A run's list of them; none of this is touched by a run that ends well and that nobody asks.
class CancelList {
 public:
  void call_all();

 private:
  friend class OnCancel;

  std::mutex mutex_;
  std::condition_variable called_;
  OnCancel* first_ = nullptr;
  OnCancel* calling_ = nullptr;
  std::thread::id caller_;
};

}  // namespace tailrace::flow
