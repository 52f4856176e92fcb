// released.hpp -- lets go of the GIL around a kernel that takes long.
//
// What      `Released free(estimated_ns)`: others have the GIL until the end of the scope, if it is worth it.
// Why       A thread that lets go beside a busy Python thread gets the GIL back after a whole switch interval, 5 ms: for what
//           takes less than 20 us holding it is cheaper for everybody (the limit of native steps, docs/native_steps.md).
// Threads   With the GIL held; nothing of Python may be touched inside.
#pragma once

#include <pybind11/pybind11.h>

#include <cstdint>

namespace tailrace::kernels {

inline constexpr double kReleaseFromNs = 20'000;

class Released {
 public:
  explicit Released(double estimated_ns) : state_(estimated_ns >= kReleaseFromNs ? PyEval_SaveThread() : nullptr) {}
  ~Released() {
    if (state_ != nullptr) PyEval_RestoreThread(state_);
  }
  Released(const Released&) = delete;
  Released& operator=(const Released&) = delete;

 private:
  PyThreadState* state_;
};

}  // namespace tailrace::kernels
