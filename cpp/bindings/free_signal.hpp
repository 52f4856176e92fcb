// free_signal.hpp -- tells who waits for memory that some was freed.
//
// What      An eventfd that the next free of a pool writes to, once it is armed.
// Why       A thread polls it and a loop watches it, so both wait in the same way; while nobody is armed a free costs a load.
// Threads   arm, drain: the waiter. on_free: whoever frees, without the GIL. wake: any.
#pragma once

#include <memory>

#include "pool_state.hpp"

namespace tailrace::bindings {

class FreeSignal final : public pool::FreeListener {
 public:
  explicit FreeSignal(std::shared_ptr<PoolState> state);
  ~FreeSignal() override;
  FreeSignal(const FreeSignal&) = delete;
  FreeSignal& operator=(const FreeSignal&) = delete;

  // Before each try: what is freed after it, or so late that the try does not find it, is told.
  void arm() noexcept;
  void drain() noexcept;
  void wake() noexcept;
  void on_free() noexcept override;
  int fd() const noexcept { return fd_; }

 private:
  std::shared_ptr<PoolState> state_;
  base::atomic<bool> armed_{false};
  int fd_;
};

}  // namespace tailrace::bindings
