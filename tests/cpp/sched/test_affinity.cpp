// test_affinity.cpp -- who runs where, and who steals from whom first, on recorded machines.
#include "tailrace/sched/affinity.hpp"

#include <map>
#include <set>
#include <stdexcept>
#include <thread>

#include "../harness.hpp"

namespace {

using namespace tailrace;
using sched::Affinity;

using Files = std::map<std::string, std::string>;
const std::string kNode = "/sys/devices/system/node/";

sched::Topology topology_of(const Files& files) {
  return sched::read_topology([&files](const std::string& path) {
    const auto found = files.find(path);
    return found == files.end() ? std::string{} : found->second;
  });
}

const Files kOneNode{{kNode + "online", "0\n"}, {kNode + "node0/cpulist", "0-1\n"}, {kNode + "node0/distance", "10\n"}};

// Two sockets whose hyper-threads are numbered behind all the cores.
const Files kTwoNodes{{kNode + "online", "0-1\n"},
                      {kNode + "node0/cpulist", "0-3,8-11\n"},
                      {kNode + "node1/cpulist", "4-7,12-15\n"},
                      {kNode + "node0/distance", "10 21\n"},
                      {kNode + "node1/distance", "21 10\n"}};

// Four nodes on two sockets: the other node of the own socket is nearer than those of the other one.
const Files kFourNodes{{kNode + "online", "0-3\n"},
                       {kNode + "node0/cpulist", "0-1\n"},
                       {kNode + "node1/cpulist", "2-3\n"},
                       {kNode + "node2/cpulist", "4-5\n"},
                       {kNode + "node3/cpulist", "6-7\n"},
                       {kNode + "node0/distance", "10 12 32 32\n"},
                       {kNode + "node1/distance", "12 10 32 32\n"},
                       {kNode + "node2/distance", "32 32 10 12\n"},
                       {kNode + "node3/distance", "32 32 12 10\n"}};

std::vector<int> visited(const sched::StealOrder& order, int slots, std::uint64_t seed) {
  base::Random random{seed};
  std::vector<int> victims;
  order.each(slots, random, [&](int victim) {
    victims.push_back(victim);
    return false;
  });
  return victims;
}

std::set<int> part(const std::vector<int>& victims, std::size_t from, std::size_t to) {
  return {victims.begin() + static_cast<std::ptrdiff_t>(from), victims.begin() + static_cast<std::ptrdiff_t>(to)};
}

TEST(the_nodes_of_a_machine_are_read_with_their_cpus_and_distances) {
  CHECK_EQ(topology_of({}).nodes.size(), 0u);
  CHECK_EQ(topology_of(kOneNode).nodes.size(), 1u);
  const auto two = topology_of(kTwoNodes);
  CHECK_EQ(two.nodes.size(), 2u);
  CHECK(two.nodes[1].cpus == (std::vector<int>{4, 5, 6, 7, 12, 13, 14, 15}));
  CHECK_EQ(two.distance(0, 8), 10);
  CHECK_EQ(two.distance(0, 4), 21);
  const auto four = topology_of(kFourNodes);
  CHECK_EQ(four.distance(5, 7), 12);
  CHECK_EQ(four.distance(5, 0), 32);
  CHECK_EQ(four.distance(5, 99), 0);  // a CPU of no node
}

TEST(a_machine_with_holes_in_its_node_numbers_keeps_distances_in_the_order_of_its_nodes) {
  const auto holes = topology_of({{kNode + "online", "0,2\n"},
                                  {kNode + "node0/cpulist", "0\n"},
                                  {kNode + "node2/cpulist", "1\n"},
                                  {kNode + "node0/distance", "10 20\n"},
                                  {kNode + "node2/distance", "20 10\n"}});
  CHECK_EQ(holes.distance(0, 1), 20);
  CHECK_EQ(holes.distance(1, 1), 10);
}

TEST(on_one_node_every_other_worker_is_a_victim_once_in_an_order_that_the_seed_draws) {
  const sched::StealOrder order{1, 5, {0, 1, 0, 1, 0}, topology_of(kOneNode)};
  std::set<std::vector<int>> orders;
  for (std::uint64_t seed = 0; seed < 40; ++seed) {
    const std::vector<int> victims = visited(order, 5, seed);
    CHECK_EQ(victims.size(), 4u);
    CHECK(part(victims, 0, 4) == (std::set<int>{0, 2, 3, 4}));
    orders.insert(victims);
  }
  CHECK_EQ(orders.size(), 4u);  // a ring, begun anywhere
}

TEST(on_two_nodes_the_own_node_comes_first) {
  const sched::StealOrder order{0, 4, {0, 4, 8, 12}, topology_of(kTwoNodes)};
  for (std::uint64_t seed = 0; seed < 40; ++seed) {
    const std::vector<int> victims = visited(order, 4, seed);
    CHECK_EQ(victims[0], 2);
    CHECK(part(victims, 1, 3) == (std::set<int>{1, 3}));
  }
}

TEST(on_four_nodes_the_order_is_own_node_own_socket_other_socket) {
  const sched::StealOrder order{5, 8, {0, 1, 2, 3, 4, 5, 6, 7}, topology_of(kFourNodes)};
  std::set<int> fourth;
  for (std::uint64_t seed = 0; seed < 60; ++seed) {
    const std::vector<int> victims = visited(order, 8, seed);
    CHECK_EQ(victims.size(), 7u);
    CHECK_EQ(victims[0], 4);
    CHECK(part(victims, 1, 3) == (std::set<int>{6, 7}));
    CHECK(part(victims, 3, 7) == (std::set<int>{0, 1, 2, 3}));
    fourth.insert(victims[3]);
  }
  CHECK_EQ(fourth.size(), 4u);
}

TEST(workers_that_are_not_there_yet_are_not_visited) {
  const sched::StealOrder pinned{5, 8, {0, 1, 2, 3, 4, 5, 6, 7}, topology_of(kFourNodes)};
  CHECK(part(visited(pinned, 7, 1), 0, 2) == (std::set<int>{4, 6}));
  CHECK_EQ(visited(pinned, 7, 1).size(), 6u);
  const sched::StealOrder anywhere{0, 8, {}, {}};
  CHECK(visited(anywhere, 2, 7) == std::vector<int>{1});
  CHECK(visited(anywhere, 1, 7).empty());
}

TEST(a_visit_ends_where_something_was_found) {
  const sched::StealOrder order{0, 4, {}, {}};
  base::Random random{test::seed()};
  int visits = 0;
  CHECK(order.each(4, random, [&](int) { return ++visits == 2; }));
  CHECK_EQ(visits, 2);
}

TEST(workers_are_spread_over_cores_or_over_a_list_that_starts_over) {
  const std::vector<int> allowed{2, 3, 6};
  CHECK(sched::cpus_of_workers(Affinity::none(), 3, allowed).empty());
  CHECK(sched::cpus_of_workers(Affinity::cores(), 4, allowed) == (std::vector<int>{2, 3, 6, 2}));
  CHECK(sched::cpus_of_workers(Affinity::list({6, 2}), 3, allowed) == (std::vector<int>{6, 2, 6}));
  CHECK_THROWS(std::invalid_argument, sched::cpus_of_workers(Affinity::list({}), 1, allowed));
  CHECK_THROWS(std::invalid_argument, sched::cpus_of_workers(Affinity::list({4}), 1, allowed));
}

TEST(a_pinned_thread_may_use_its_cpu_only) {
  std::thread{[] {
    const int cpu = sched::allowed_cpus().back();
    CHECK(sched::pin_this_thread(cpu));
    CHECK(sched::allowed_cpus() == std::vector<int>{cpu});
  }}.join();
}

}  // namespace
