// cost.hpp -- what is learnt about a body: how long it takes, and how much of that without the GIL.
//
// What      `Cost`, running estimates by which others are woken for a body's siblings, the gate is opened around it, or
//           it is helped with under a deadline.
// Why       An opened gate costs a wake (22 us) and the turns of two threads at the GIL: it pays for a body that spends long
//           stretches without the GIL, and for no other, however long it takes (docs/gates.md).
// Threads   Under the GIL; the estimates are single words that a reader elsewhere may see a moment late.
#pragma once

#include <algorithm>
#include <cstdint>

#include "core_section.hpp"

namespace tailrace::bindings {

inline constexpr std::int64_t kShortNs = 50'000;  // what may run on an event loop's thread, or after a blocking step
// From here on a body of which nothing else is known opens the gate.
inline constexpr std::int64_t kLongNs = kHasGil ? 200'000 : 25'000;  // without: a little more than the wake itself
// So long must a body be without the GIL to be worth a wake, and this part of its time.
inline constexpr std::int64_t kWorthNs = 50'000;
inline constexpr float kWorthShare = 0.25F;

// What the user says of a step; what is not said is learnt.
enum class GilUse : int { kAuto = 0, kHolds = 1, kReleases = 2 };

// What a body costs when it has the interpreter to itself. A duration that was measured while another worker came in
// says more about their turns at the GIL than about the body: learning from it would make short bodies look long, open
// the gate for them, and so keep itself true (seen: a recommender at half its throughput).
struct Cost {
  // `clean`: nobody else came in meanwhile.
  void learn(std::int64_t ns, bool clean) noexcept {
    ++calls;
    high_ns = ns > high_ns ? ns : high_ns - (high_ns - ns) / 64;
    if (!clean) return void(++dirty_in_a_row);
    if (dirty_in_a_row >= measure_after) measure_after = std::min(2 * measure_after, kRarest);
    dirty_in_a_row = 0;
    if (clean_calls < kWindow) ++clean_calls;
    // An outlier counts for at most eight times what was known.
    const std::int64_t sample = mean_ns < 0 || ns < 8 * mean_ns + 1000 ? ns : 8 * mean_ns + 1000;
    mean_ns = mean_ns < 0 ? sample : mean_ns + (sample - mean_ns) / clean_calls;
  }

  // A probe of a body that took `ns` saw it inside and outside the GIL for so long (gil_probe.hpp).
  void learn_released(std::int64_t ns, std::int64_t inside_ns, std::int64_t outside_ns) noexcept {
    const std::int64_t seen_ns = inside_ns + outside_ns;
    const float share = seen_ns > 0 ? static_cast<float>(outside_ns) / static_cast<float>(seen_ns) : 0;
    // A body that took many times its time was kept from the GIL by a stranger, and so was the probe.
    const bool believed = seen_ns >= kLeastSeenNs && (share >= kWorthShare || ns <= 4 * mean_ns);
    // Who was woken to look may come too late for this call, but in time for the next. A body that opens the gate anyway
    // costs nothing to try again.
    const bool again = !believed && (++missed_in_a_row % kTries != 0 || is_helped());
    next_probe = calls + static_cast<std::uint64_t>(again ? 0 : probe_spacing);
    if (!again) probe_spacing = std::min(2 * probe_spacing, believed ? kRarest : kRarestMissed);
    if (!believed) return;
    missed_in_a_row = 0;
    if (probes < kProbeWindow) ++probes;
    released = probes == 1 ? share : released + (share - released) / static_cast<float>(probes);
  }

  bool known() const noexcept { return clean_calls >= 2; }
  bool released_known() const noexcept { return probes >= 2; }

  // Another worker could do something useful meanwhile, as far as is known.
  bool is_helped(GilUse said = GilUse::kAuto) const noexcept {
    if (!kHasGil) return !known() || mean_ns >= kWorthNs;
    if (said != GilUse::kAuto) return said == GilUse::kReleases;
    if (!known()) return true;
    if (!released_known()) return mean_ns >= kLongNs;
    return released >= kWorthShare && released * static_cast<float>(mean_ns) >= static_cast<float>(kWorthNs);
  }
  // ... and this call lets it in: now and then one does not, to be measured alone.
  bool opens_gate(GilUse said = GilUse::kAuto) const noexcept {
    if (!kHasGil) return true;  // nothing is held
    return is_helped(said) && dirty_in_a_row < (known() ? measure_after : 1);
  }
  // It is time for a look at whether this body lets go of the GIL, if anybody comes to look.
  bool wants_probe(GilUse said = GilUse::kAuto) const noexcept {
    return kHasGil && calls >= next_probe && said == GilUse::kAuto && known() && mean_ns >= kWorthNs;
  }
  // Fits, with what was learnt, into `ns`.
  bool fits(std::int64_t ns) const noexcept { return calls >= 2 && high_ns < ns; }

  static constexpr int kWindow = 8;
  static constexpr int kProbeWindow = 4;
  static constexpr int kRarest = 4096;  // calls between two measurements alone, or two probes
  static constexpr int kTries = 8;
  static constexpr int kRarestMissed = 256;  // between two probes to which nobody came
  static constexpr std::int64_t kLeastSeenNs = 20'000;

  std::int64_t mean_ns = -1;  // -1: unknown
  std::int64_t high_ns = 0;  // a decaying maximum of all: an upper estimate
  std::uint64_t calls = 0;
  std::uint64_t next_probe = 2;  // by `calls`
  float released = 0;  // the share of its time without the GIL, in stretches worth a turn
  int probes = 0;  // up to kProbeWindow
  int probe_spacing = 4;
  int missed_in_a_row = 0;
  int clean_calls = 0;  // up to kWindow
  int dirty_in_a_row = 0;
  int measure_after = 16;
};

}  // namespace tailrace::bindings
