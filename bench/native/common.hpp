// common.hpp -- what every native bench shares: its options, its clock, its samples, its line of JSON.
//
// What      `Options` from the command line, `Samples` with minimum and percentiles, `print` for one line per pass.
// Why       A driver interleaves the engines (`tailrace bench native`, bench/report.py); so each executable measures one
//           engine, checks its own answers, and speaks one format.
// Threads   The main thread only.
// Checked   Every bench exits with status 1 when an answer is wrong.
#pragma once

#ifdef __linux__
#include <pthread.h>
#include <sched.h>
#endif

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <thread>
#include <vector>

namespace bench {

struct Options {
  int passes = 5;
  double scale = 1.0;  // --scale 0.1 does a tenth of the work: for trying out, not for quoting
  std::string input;  // --input FILE, for benches that read one
};

inline Options parse(int argc, char** argv) {
  Options options;
  for (int i = 1; i < argc; i += 2) {
    const bool has_value = i + 1 < argc;
    if (has_value && std::strcmp(argv[i], "--passes") == 0) {
      options.passes = std::atoi(argv[i + 1]);
    } else if (has_value && std::strcmp(argv[i], "--scale") == 0) {
      options.scale = std::atof(argv[i + 1]);
    } else if (has_value && std::strcmp(argv[i], "--input") == 0) {
      options.input = argv[i + 1];
    } else {
      std::fprintf(stderr, "usage: %s [--passes K] [--scale X] [--input FILE]\n", argv[0]);
      std::exit(2);
    }
  }
  if (options.passes < 1 || !(options.scale > 0)) {
    std::fprintf(stderr, "%s: --passes must be at least 1 and --scale above 0\n", argv[0]);
    std::exit(2);
  }
  return options;
}

inline int scaled(int count, const Options& options) { return std::max(1, static_cast<int>(count * options.scale)); }

inline std::int64_t now_ns() noexcept {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

inline void pause_for(std::chrono::microseconds time) { std::this_thread::sleep_for(time); }

// Keeps this thread on the n-th core that the process may use (modulo how many there are), where the system can.
inline void pin_this_thread([[maybe_unused]] int n) {
#ifdef __linux__
  cpu_set_t allowed;
  if (sched_getaffinity(0, sizeof(allowed), &allowed) != 0) return;
  n %= CPU_COUNT(&allowed);
  for (int core = 0; core < CPU_SETSIZE; ++core) {
    if (!CPU_ISSET(core, &allowed) || n-- > 0) continue;
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(core, &one);
    pthread_setaffinity_np(pthread_self(), sizeof(one), &one);
    return;
  }
#endif
}

// Keeps this thread on a core for a while; then it may use all that it could use before.
class PinnedHere {
 public:
  explicit PinnedHere([[maybe_unused]] int n) {
#ifdef __linux__
    known_ = sched_getaffinity(0, sizeof(before_), &before_) == 0;
#endif
    pin_this_thread(n);
  }
  PinnedHere(const PinnedHere&) = delete;
  PinnedHere& operator=(const PinnedHere&) = delete;
#ifdef __linux__
  ~PinnedHere() {
    if (known_) pthread_setaffinity_np(pthread_self(), sizeof(before_), &before_);
  }

 private:
  cpu_set_t before_{};
  bool known_ = false;
#endif
};

// A wrong answer is an error exit, not a footnote.
inline void require(bool right, const char* what) {
  if (right) return;
  std::fprintf(stderr, "wrong answer: %s\n", what);
  std::exit(1);
}

class Samples {
 public:
  explicit Samples(std::size_t expected) { all_.reserve(expected); }
  void add(double sample) { all_.push_back(sample); }
  void add_all(const Samples& others) { all_.insert(all_.end(), others.all_.begin(), others.all_.end()); }
  std::size_t size() const noexcept { return all_.size(); }

  Samples scaled(double by) const {
    Samples result = *this;
    for (double& sample : result.all_) sample *= by;
    return result;
  }

  // Nearest rank; `part` is 0 to 1.
  double at(double part) {
    std::sort(all_.begin(), all_.end());
    return all_[static_cast<std::size_t>(std::lround(part * static_cast<double>(all_.size() - 1)))];
  }

 private:
  std::vector<double> all_;
};

// One line per pass. `value` is what a report takes for the pass: the median.
inline void print(const char* work, const char* engine, const char* unit, Samples& samples) {
  std::printf(
      "{\"work\": \"%s\", \"engine\": \"%s\", \"unit\": \"%s\", \"value\": %.4f, \"min\": %.4f, \"p50\": %.4f, "
      "\"p99\": %.4f}\n",
      work, engine, unit, samples.at(0.5), samples.at(0), samples.at(0.5), samples.at(0.99));
  std::fflush(stdout);
}

}  // namespace bench
