// spin.hpp -- how long a worker looks for work before it sleeps: by time, and only while that pays.
//
// What      `Profile`, what a user chooses; `SpinWindow`, one worker's memory of whether looking has paid.
// Why       Work that comes within some microseconds is found a hundred times sooner by a worker that still looks. Work
//           that comes each millisecond is not, and looking for it each time burns more than running it.
// Threads   SpinWindow: its worker only.
// Checked   tests/cpp/sched/test_spin.cpp; bench/native/wake, bench/native/trickle.
#pragma once

#include <algorithm>
#include <cstdint>
#include <initializer_list>
#include <string_view>

namespace tailrace::sched {

// Eco never looks, it sleeps at once. Balanced looks for a short while, as long as that pays. Latency always looks, for longer.
enum class Profile : std::uint8_t { kEco, kBalanced, kLatency };

constexpr std::int64_t spin_window_ns(Profile profile) noexcept {
  switch (profile) {
    case Profile::kEco:
      return 0;
    case Profile::kBalanced:
      return 15'000;  // less than it takes to wake a thread (docs/measuring.md)
    case Profile::kLatency:
      return 100'000;
  }
  return 0;
}

constexpr const char* name(Profile profile) noexcept {
  return profile == Profile::kEco ? "eco" : profile == Profile::kLatency ? "latency" : "balanced";
}

// False when no profile is called so.
constexpr bool from_name(std::string_view text, Profile& profile) noexcept {
  for (const Profile each : {Profile::kEco, Profile::kBalanced, Profile::kLatency}) {
    if (text == name(each)) return profile = each, true;
  }
  return false;
}

class SpinWindow {
 public:
  SpinWindow(std::int64_t full_ns, bool adaptive) noexcept : full_ns_{full_ns}, adaptive_{adaptive} {}

  // How long to look now; 0: not at all.
  std::int64_t ns() const noexcept { return credit_ > 0 || !adaptive_ ? full_ns_ : 0; }

  void found() noexcept { credit_ = std::min(credit_ + kGain, kMost); }
  void missed() noexcept { credit_ = std::max(credit_ - 1, 0); }

  // After a sleep that somebody ended `ns` after it began: if a look would have caught it, looking may pay again.
  void slept(std::int64_t ns) noexcept {
    if (ns <= full_ns_) credit_ = std::min(credit_ + 1, kMost);
  }

 private:
  static constexpr int kMost = 8;  // so many misses in a row, and it looks no more
  static constexpr int kGain = 2;  // one hit pays for two misses

  std::int64_t full_ns_;
  bool adaptive_;
  int credit_ = kMost / 2;
};

}  // namespace tailrace::sched
