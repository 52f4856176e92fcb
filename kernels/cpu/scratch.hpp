// scratch.hpp -- memory that a kernel needs while it runs, kept by the thread for the next call.
//
// What      `scratch<Tag>(bytes)`: at least so many bytes, aligned to 64, the same block for each call with this tag.
// Why       No allocation on the way of a request after the first; a worker runs the same few ops again and again.
//           A block above kKept goes with the next call that needs less than a quarter of it: one huge call does not stay.
// Threads   Each thread has its own. A kernel does not call another one that uses the same tag.
#pragma once

#include <cstddef>
#include <memory>
#include <new>

namespace tailrace::kernels {

inline constexpr std::size_t kKept = std::size_t{16} << 20;  // bytes that a thread may keep for good

class ScratchBlock {
 public:
  std::byte* at_least(std::size_t bytes) {
    if (bytes > capacity_ || (capacity_ > kKept && bytes < capacity_ / 4)) {
      block_.reset();
      capacity_ = 0;
      const std::size_t grown = (bytes + bytes / 2 + 4095) & ~std::size_t{4095};
      block_.reset(static_cast<std::byte*>(::operator new(grown, std::align_val_t{64})));
      capacity_ = grown;
    }
    return block_.get();
  }

 private:
  struct Free {
    void operator()(std::byte* block) const { ::operator delete(block, std::align_val_t{64}); }
  };
  std::unique_ptr<std::byte, Free> block_;
  std::size_t capacity_ = 0;
};

template <class Tag>
std::byte* scratch(std::size_t bytes) {
  thread_local ScratchBlock block;
  return block.at_least(bytes);
}

}  // namespace tailrace::kernels
