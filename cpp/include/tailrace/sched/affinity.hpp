// affinity.hpp -- where workers run, and from whom they steal first.
//
// What      The option `affinity` (nowhere in particular, one CPU each, or a list), the machine's NUMA nodes, and the
//           order in which a worker visits its victims: nearest node first, random among equals.
// Why       A line from the other socket costs several of one from the own; with threads that the system moves about
//           there is no "near", so the order counts only for workers that are pinned.
// Threads   The functions: any. A StealOrder is its worker's own.
// Source    Linux: Documentation/ABI/stable/sysfs-devices-node (online, cpulist, distance; distances as in ACPI's SLIT).
// Checked   tests/cpp/sched/test_affinity.cpp, on recorded machines of one, two and four nodes.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "tailrace/base/random.hpp"
#include "tailrace/sched/cpus.hpp"

namespace tailrace::sched {

struct Affinity {
  enum class Kind : std::uint8_t { kNone, kCores, kList };

  static Affinity none() { return {}; }
  static Affinity cores() { return {Kind::kCores, {}}; }  // worker i on the i-th CPU that the process may use
  static Affinity list(std::vector<int> cpus) { return {Kind::kList, std::move(cpus)}; }  // worker i on cpus[i]

  Kind kind = Kind::kNone;
  std::vector<int> cpus;
};

// The CPU of each of `slots` workers, starting over when there are fewer CPUs; empty for Affinity::none(). Throws
// std::invalid_argument for a list that is empty or names a CPU that is not among `allowed`.
std::vector<int> cpus_of_workers(const Affinity& affinity, int slots, const std::vector<int>& allowed);

// Binds the calling thread to one CPU; false when the system refuses (the thread then runs where it may).
bool pin_this_thread(int cpu) noexcept;

struct Topology {
  struct Node {
    std::vector<int> cpus;
    std::vector<int> distances;  // to each node, in their order; smaller is nearer
  };

  // How far the memory of one CPU's node is from another's; 0 when that is not known, so that all are alike.
  int distance(int from_cpu, int to_cpu) const;

  std::vector<Node> nodes;  // none on a machine that does not say
};

Topology read_topology(const ReadFile& read = read_file);

class StealOrder {
 public:
  StealOrder() = default;
  // For worker `self`. `cpus`: of each worker, or empty when they are not pinned.
  StealOrder(int self, int slots, const std::vector<int>& cpus, const Topology& topology);

  // Calls `visit(victim)` for each other worker below `slots`, until it returns true. Within a distance the first one
  // is random, and the others follow in a ring.
  template <class Visit>
  bool each(int slots, base::Random& random, Visit&& visit) const {
    std::size_t begin = 0;
    for (const std::size_t end : ends_) {
      // Within a distance the victims are in order, so those below `slots` come first.
      const auto first = victims_.begin() + static_cast<std::ptrdiff_t>(begin);
      const auto last = victims_.begin() + static_cast<std::ptrdiff_t>(end);
      const auto n = static_cast<std::uint32_t>(std::lower_bound(first, last, slots) - first);
      std::uint32_t at = n < 2 ? 0 : random.below(n);
      for (std::uint32_t i = 0; i < n; ++i, at = at + 1 == n ? 0 : at + 1) {
        if (visit(victims_[begin + at])) return true;
      }
      begin = end;
    }
    return false;
  }

 private:
  std::vector<int> victims_;  // nearest first
  std::vector<std::size_t> ends_;  // where each distance ends
};

}  // namespace tailrace::sched
