// heap.hpp -- what the allocation benches share: sizes, touching, and threads that begin together.
//
// What      `Size`, `escape`, `touch`, `together` (threads on cores of their own, sampled), `Ring` from one thread to another.
// Why       Every rival runs this text. A rival is an engine: `name()`, and `local()` for each thread, whose result has
//           `allocate(bytes)` and `deallocate(block, bytes)`.
// Threads   As each says.
// Checked   `together` and `Ring` carry every row; what passes the ring is compared on both sides.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <string>

#include "common.hpp"

namespace bench::alloc {

struct Size {
  const char* name;
  std::size_t bytes;
};

inline constexpr std::size_t kKiB = 1024;
inline constexpr std::size_t kMiB = 1024 * kKiB;
inline constexpr std::size_t kPageBytes = 4096;

// What each rival promises for any block; ours is asked for no more.
inline constexpr std::size_t kAlignment = alignof(std::max_align_t);

// The compiler must believe that somebody uses the block: it may not leave out a pair of malloc and free.
inline void escape(void* block) noexcept { asm volatile("" : : "g"(block) : "memory"); }

inline void touch(void* block, std::size_t bytes) noexcept {
  auto* const at = static_cast<volatile unsigned char*>(block);
  for (std::size_t i = 0; i < bytes; i += kPageBytes) at[i] = 1;
}

// Cheap, and the same numbers for every rival (Marsaglia 2003, xorshift64).
class Dice {
 public:
  explicit Dice(int seed) : state_(0x9E3779B97F4A7C15u * static_cast<std::uint64_t>(seed + 1)) {}
  std::uint64_t roll() noexcept {
    state_ ^= state_ << 13;
    state_ ^= state_ >> 7;
    return state_ ^= state_ << 17;
  }
  std::size_t below(std::size_t limit) noexcept { return (roll() >> 32) * limit >> 32; }
  double part() noexcept { return static_cast<double>(roll() >> 11) * 0x1p-53; }

 private:
  std::uint64_t state_;
};

// `bytes` more or less an eighth, as the rows of a batch make it.
inline std::size_t about(std::size_t bytes, Dice& dice) noexcept { return bytes - bytes / 8 + dice.below(bytes / 4); }

// Waits by looking, as a sleep would be part of the figure; lets others run when it takes long.
template <class Ready>
void look_until(Ready&& ready) noexcept {
  for (int looks = 0; !ready(); ++looks) {
    if (looks > 2000) std::this_thread::yield();
  }
}

// A line that `threads` threads cross together, again and again.
class Line {
 public:
  explicit Line(int threads) : threads_(threads) {}
  void cross() noexcept {
    const int round = round_.load(std::memory_order_relaxed);  // only changes when this thread has arrived, too
    if (arrived_.fetch_add(1, std::memory_order_acq_rel) + 1 == threads_) {
      arrived_.store(0, std::memory_order_relaxed);
      round_.store(round + 1, std::memory_order_release);
    } else {
      look_until([&] { return round_.load(std::memory_order_acquire) != round; });
    }
  }

 private:
  const int threads_;
  alignas(64) std::atomic<int> arrived_{0};
  alignas(64) std::atomic<int> round_{0};
};

inline constexpr std::int64_t kSampleNs = 2'000'000;
inline constexpr int kSamples = 15;
inline constexpr int kFewestSamples = 3;
inline constexpr int kFewestTimes = 32;
inline constexpr int kWarmTimes = 600;
inline constexpr std::int64_t kWarmNs = 300'000'000, kRowNs = 1'000'000'000;  // enough, for the slow ones

// `make(local, thread)` returns what one thread does: a call with the number of times. The caller is thread 0. All begin
// each sample together; a sample counts until the slowest is done. Nanoseconds for one time.
template <class Engine, class Make>
Samples together(Engine& engine, int threads, const Options& options, Make&& make) {
  Samples samples{kSamples};
  Line line{threads};
  std::vector<std::int64_t> took(static_cast<std::size_t>(threads));
  int times = kFewestTimes;
  std::int64_t warmed = 0, since = now_ns();
  bool warm = false, over = false;
  const auto decide = [&] {
    const std::int64_t slowest = *std::max_element(took.begin(), took.end());
    if (warm) {
      samples.add(static_cast<double>(slowest) / times);
      over = samples.size() == kSamples || (samples.size() >= kFewestSamples && now_ns() - since > kRowNs);
      return;
    }
    warmed += times;
    warm = now_ns() - since > kWarmNs;
    if (static_cast<double>(slowest) < static_cast<double>(kSampleNs) * std::min(options.scale, 1.0)) {
      times *= 2;
    } else if (warmed >= kWarmTimes) {
      warm = true;
    }
    if (warm) since = now_ns();
  };
  const auto live = [&](int thread) {
    auto&& local = engine.local();
    auto part = make(local, thread);
    for (;;) {
      line.cross();
      if (over) return;
      const std::int64_t began = now_ns();
      part(times);
      took[static_cast<std::size_t>(thread)] = now_ns() - began;
      line.cross();
      if (thread == 0) decide();
    }
  };
  std::vector<std::thread> others;
  for (int thread = 1; thread < threads; ++thread) {
    others.emplace_back([&live, thread] { pin_this_thread(thread), live(thread); });
  }
  {
    const PinnedHere pinned{0};
    live(0);
  }
  for (std::thread& other : others) other.join();
  return samples;
}

// So many live buffers; at each time another of about the same size comes and the oldest goes.
template <class Local, std::size_t kLive>
class Window {
 public:
  Window(Local& heap, int seed, std::size_t bytes, bool touched)
      : heap_(heap), dice_(seed), bytes_(bytes), touched_(touched) {
    for (Buffer& buffer : live_) buffer = next();
  }
  Window(const Window&) = delete;
  ~Window() {
    for (const Buffer& buffer : live_) heap_.deallocate(buffer.block, buffer.bytes);
  }

  void operator()(int times) {
    for (int i = 0; i < times; ++i) {
      Buffer& oldest = live_[turn_++ % kLive];
      const Buffer newest = next();
      heap_.deallocate(oldest.block, oldest.bytes);
      oldest = newest;
    }
    require(apart(), "two live buffers share memory");
  }

 private:
  struct Buffer {
    void* block;
    std::size_t bytes;
  };

  Buffer next() {
    const std::size_t bytes = about(bytes_, dice_);
    void* const block = heap_.allocate(bytes);
    escape(block);
    if (touched_) touch(block, bytes);
    return {block, bytes};
  }

  bool apart() const {
    std::array<Buffer, kLive> ordered = live_;
    std::sort(ordered.begin(), ordered.end(), [](const Buffer& a, const Buffer& b) { return a.block < b.block; });
    for (std::size_t i = 1; i < kLive; ++i) {
      if (static_cast<char*>(ordered[i - 1].block) + ordered[i - 1].bytes > ordered[i].block) return false;
    }
    return true;
  }

  Local& heap_;
  Dice dice_;
  const std::size_t bytes_;
  const bool touched_;
  std::size_t turn_ = 0;
  std::array<Buffer, kLive> live_;
};

// From one thread to another; each side remembers how far the other was.
template <std::size_t kLength>
class Ring {
 public:
  void push(void* block) noexcept {
    if (tail_ - seen_head_ == kLength) {
      look_until([&] { return tail_ - (seen_head_ = head_.load(std::memory_order_acquire)) < kLength; });
    }
    cells_[tail_ % kLength] = block;
    shown_tail_.store(++tail_, std::memory_order_release);
  }
  void* pop() noexcept {
    if (own_head_ == seen_tail_) {
      look_until([&] { return (seen_tail_ = shown_tail_.load(std::memory_order_acquire)) != own_head_; });
    }
    void* const block = cells_[own_head_ % kLength];
    head_.store(++own_head_, std::memory_order_release);
    return block;
  }

 private:
  alignas(64) std::size_t tail_ = 0;
  std::size_t seen_head_ = 0;
  alignas(64) std::size_t own_head_ = 0;
  std::size_t seen_tail_ = 0;
  alignas(64) std::atomic<std::size_t> shown_tail_{0};
  alignas(64) std::atomic<std::size_t> head_{0};
  alignas(64) std::array<void*, kLength> cells_{};
};

// Thread 0 allocates what thread 1 frees.
template <std::size_t kLength>
class HandOver {
 public:
  template <class Local>
  void run(Local& heap, int thread, std::size_t bytes, int times) {
    std::uintptr_t sum = 0;
    for (int i = 0; i < times; ++i) {
      void* const block = thread == 0 ? heap.allocate(bytes) : ring_.pop();
      sum += reinterpret_cast<std::uintptr_t>(block);
      if (thread == 0) {
        escape(block);
        ring_.push(block);
      } else {
        heap.deallocate(block, bytes);
      }
    }
    sums_[thread] += sum;
  }
  void check() const { require(sums_[0] == sums_[1], "a block was lost between the threads"); }

 private:
  Ring<kLength> ring_;
  std::uintptr_t sums_[2] = {};
};

inline std::string row(const char* work, const char* kind, const char* size, int threads) {
  return std::string{work} + "." + kind + "." + size + ".t" + std::to_string(threads);
}

}  // namespace bench::alloc
