#include "tailrace/sched/affinity.hpp"

#include <pthread.h>
#include <sched.h>

#include <algorithm>
#include <sstream>
#include <stdexcept>
#include <string>

namespace tailrace::sched {

std::vector<int> cpus_of_workers(const Affinity& affinity, int slots, const std::vector<int>& allowed) {
  if (affinity.kind == Affinity::Kind::kNone) return {};
  const std::vector<int>& from = affinity.kind == Affinity::Kind::kCores ? allowed : affinity.cpus;
  if (from.empty()) {
    throw std::invalid_argument{
        "tailrace: affinity is a list of CPUs without one; write Affinity::list({0, 1}), Affinity::cores() or "
        "Affinity::none()"};
  }
  for (const int cpu : from) {
    if (std::find(allowed.begin(), allowed.end(), cpu) != allowed.end()) continue;
    std::string may;
    for (const int one : allowed) may += (may.empty() ? "" : ", ") + std::to_string(one);
    throw std::invalid_argument{"tailrace: affinity names CPU " + std::to_string(cpu) +
                                ", which this process may not use; it may use " + may};
  }
  std::vector<int> cpus;
  for (int i = 0; i < slots; ++i) cpus.push_back(from[static_cast<std::size_t>(i) % from.size()]);
  return cpus;
}

bool pin_this_thread(int cpu) noexcept {
  cpu_set_t* mask = CPU_ALLOC(cpu + 1);
  if (mask == nullptr) return false;
  const std::size_t bytes = CPU_ALLOC_SIZE(cpu + 1);
  CPU_ZERO_S(bytes, mask);
  CPU_SET_S(cpu, bytes, mask);
  const bool pinned = pthread_setaffinity_np(pthread_self(), bytes, mask) == 0;
  CPU_FREE(mask);
  return pinned;
}

int Topology::distance(int from_cpu, int to_cpu) const {
  const auto holds = [](int cpu) {
    return [cpu](const Node& node) { return std::find(node.cpus.begin(), node.cpus.end(), cpu) != node.cpus.end(); };
  };
  const auto from = std::find_if(nodes.begin(), nodes.end(), holds(from_cpu));
  const auto to = std::find_if(nodes.begin(), nodes.end(), holds(to_cpu));
  if (from == nodes.end() || to == nodes.end()) return 0;
  const auto index = static_cast<std::size_t>(to - nodes.begin());
  return index < from->distances.size() ? from->distances[index] : 0;
}

Topology read_topology(const ReadFile& read) {
  const std::string root = "/sys/devices/system/node/";
  Topology topology;
  for (const int id : parse_cpu_list(read(root + "online"))) {
    const std::string folder = root + "node" + std::to_string(id) + "/";
    Topology::Node node{parse_cpu_list(read(folder + "cpulist")), {}};
    std::istringstream distances{read(folder + "distance")};
    for (int distance = 0; distances >> distance;) node.distances.push_back(distance);
    topology.nodes.push_back(std::move(node));
  }
  return topology;
}

StealOrder::StealOrder(int self, int slots, const std::vector<int>& cpus, const Topology& topology) {
  std::vector<std::pair<int, int>> others;  // distance, worker
  for (int i = 0; i < slots; ++i) {
    if (i == self) continue;
    const auto at = static_cast<std::size_t>(i);
    others.emplace_back(cpus.empty() ? 0 : topology.distance(cpus[static_cast<std::size_t>(self)], cpus[at]), i);
  }
  std::sort(others.begin(), others.end());
  for (std::size_t k = 0; k < others.size(); ++k) {
    victims_.push_back(others[k].second);
    if (k + 1 == others.size() || others[k + 1].first != others[k].first) ends_.push_back(k + 1);
  }
}

}  // namespace tailrace::sched
