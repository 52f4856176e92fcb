// test_cpus.cpp -- how many CPUs there are for us, on machines made of recorded files.
#include "tailrace/sched/cpus.hpp"

#include <map>

#include "../harness.hpp"

namespace {

using namespace tailrace;

using Files = std::map<std::string, std::string>;

double quota_of(const Files& files) {
  return sched::cgroup_quota([&files](const std::string& path) {
    const auto found = files.find(path);
    return found == files.end() ? std::string{} : found->second;
  });
}

TEST(a_list_of_cpus_is_read_as_the_kernel_writes_it) {
  CHECK(sched::parse_cpu_list("0-3,8,10-11\n") == (std::vector<int>{0, 1, 2, 3, 8, 10, 11}));
  CHECK(sched::parse_cpu_list("5") == std::vector<int>{5});
  CHECK(sched::parse_cpu_list("2,0-1,1") == (std::vector<int>{0, 1, 2}));
  CHECK(sched::parse_cpu_list("\n").empty());
  CHECK(sched::parse_cpu_list("x,-3,4-y,7") == std::vector<int>{7});
  CHECK(sched::parse_cpu_list("9-2").empty());
  CHECK_EQ(sched::parse_cpu_list("0-99999999999").size(), std::size_t{1} << 16);
}

TEST(the_tightest_quota_of_all_levels_of_the_cgroup_counts) {
  CHECK_EQ(quota_of({}), 0.0);
  CHECK_EQ(quota_of({{"/proc/self/cgroup", "0::/\n"}, {"/sys/fs/cgroup/cpu.max", "max 100000\n"}}), 0.0);
  CHECK_EQ(quota_of({{"/proc/self/cgroup", "0::/\n"}, {"/sys/fs/cgroup/cpu.max", "150000 100000\n"}}), 1.5);
  CHECK_EQ(quota_of({{"/proc/self/cgroup", "0::/a/b\n"}, {"/sys/fs/cgroup/a/cpu.max", "50000 100000\n"}}), 0.5);
  CHECK_EQ(quota_of({{"/proc/self/cgroup", "0::/a/b\n"},
                     {"/sys/fs/cgroup/a/cpu.max", "300000 100000\n"},
                     {"/sys/fs/cgroup/a/b/cpu.max", "200000 100000\n"}}),
           2.0);
  CHECK_EQ(quota_of({{"/proc/self/cgroup", "0::/\n"}, {"/sys/fs/cgroup/cpu.max", "200000\n"}}), 2.0);
}

TEST(a_quota_of_the_first_kind_of_cgroup_is_found_under_either_mount) {
  CHECK_EQ(quota_of({{"/proc/self/cgroup", "4:cpu,cpuacct:/pod\n1:memory:/pod\n"},
                     {"/sys/fs/cgroup/cpu,cpuacct/pod/cpu.cfs_quota_us", "250000\n"},
                     {"/sys/fs/cgroup/cpu,cpuacct/pod/cpu.cfs_period_us", "100000\n"}}),
           2.5);
  CHECK_EQ(quota_of({{"/proc/self/cgroup", "3:cpu:/\n"},
                     {"/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "100000\n"},
                     {"/sys/fs/cgroup/cpu/cpu.cfs_period_us", "50000\n"}}),
           2.0);
  CHECK_EQ(quota_of({{"/proc/self/cgroup", "4:cpu:/\n"}, {"/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "-1\n"}}), 0.0);
  CHECK_EQ(quota_of({{"/proc/self/cgroup", "4:cpuset:/\n"},
                     {"/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "100000\n"},
                     {"/sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n"}}),
           0.0);
}

TEST(a_quota_that_is_no_number_is_none) {
  for (const char* text : {"nonsense\n", "0 100000\n", "100000 0\n", "1e5 1e5\n", "", "99999999999999999999 1\n"}) {
    CHECK_EQ(quota_of({{"/proc/self/cgroup", "0::/\n"}, {"/sys/fs/cgroup/cpu.max", text}}), 0.0);
  }
}

TEST(a_fraction_of_a_cpu_is_rounded_up_and_never_below_one) {
  CHECK_EQ(sched::available_cpus(64, 0.1), 1);
  CHECK_EQ(sched::available_cpus(64, 2.5), 3);
  CHECK_EQ(sched::available_cpus(3, 8.0), 3);
  CHECK_EQ(sched::available_cpus(4, 0.0), 4);
  CHECK_EQ(sched::available_cpus(0, 0.0), 1);
}

TEST(this_machine_has_a_cpu_for_us) {
  CHECK(!sched::allowed_cpus().empty());
  CHECK(sched::available_cpus() >= 1);
  CHECK(sched::available_cpus() <= static_cast<int>(sched::allowed_cpus().size()));
}

}  // namespace
