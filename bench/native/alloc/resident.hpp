// resident.hpp -- how much of the process is in memory, over time.
//
// What      `resident_bytes`, `Watch`: a thread that notes it every 20 ms, and prints the curve.
// Why       The curve shows who gives memory back, and when.
// Threads   Nothing here allocates while it watches.
#pragma once

#include <fcntl.h>
#include <unistd.h>

#include "heap.hpp"

namespace bench::alloc {

inline std::size_t resident_bytes() noexcept {
  static const int file = ::open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
  char text[128] = {};
  if (file < 0 || ::pread(file, text, sizeof(text) - 1, 0) <= 0) return 0;
  std::size_t total = 0, resident = 0;
  if (std::sscanf(text, "%zu %zu", &total, &resident) != 2) return 0;
  return resident * static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
}

class Watch {
 public:
  Watch() : began_(now_ns()), thread_([this] { run(); }) {}
  ~Watch() {
    over_.store(true);
    thread_.join();
  }
  std::size_t peak() const noexcept { return peak_.load(); }

  // Seconds and MiB above `base`.
  void print_curve(const char* work, const char* engine, std::size_t base) const {
    const std::size_t count = count_.load();
    std::printf("{\"curve\": \"%s\", \"engine\": \"%s\", \"unit\": \"MiB\", \"points\": [", work, engine);
    const std::size_t step = count / 500 + 1;
    for (std::size_t i = 0; i < count; i += step) {
      const double mib = (static_cast<double>(points_[i].bytes) - static_cast<double>(base)) / double{kMiB};
      std::printf("%s[%.3f, %.2f]", i == 0 ? "" : ", ", static_cast<double>(points_[i].ns) / 1e9, mib);
    }
    std::printf("]}\n");
    std::fflush(stdout);
  }

 private:
  struct Point {
    std::int64_t ns;
    std::size_t bytes;
  };

  void run() {
    while (!over_.load()) {
      const std::size_t now = resident_bytes();
      if (now > peak_.load()) peak_.store(now);
      const std::size_t at = count_.load();
      if (at < points_.size()) {
        points_[at] = {now_ns() - began_, now};
        count_.store(at + 1);
      }
      pause_for(std::chrono::milliseconds{20});
    }
  }

  const std::int64_t began_;
  std::array<Point, 8192> points_{};
  std::atomic<std::size_t> count_{0};
  std::atomic<std::size_t> peak_{0};
  std::atomic<bool> over_{false};
  std::thread thread_;
};

}  // namespace bench::alloc
