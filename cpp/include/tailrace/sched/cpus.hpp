// cpus.hpp -- which CPUs this process may use, and how many of them its cgroup pays for.
//
// What      The affinity mask, cut by the tightest CPU quota of its cgroups (v1 and v2); a parser for CPU lists.
// Why       A service in a container that may use two of 64 CPUs wants two workers; 64 would be throttled together.
// Threads   Any; nothing is kept.
// Source    Linux: Documentation/admin-guide/cgroup-v2.rst (cpu.max), cgroup-v1 (cpu.cfs_quota_us), cpusets "List Format".
// Checked   tests/cpp/sched/test_cpus.cpp, on recorded files.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace tailrace::sched {

// The text of a file, "" where there is none. The functions below take one, so that a test can be any machine.
using ReadFile = std::function<std::string(const std::string& path)>;
std::string read_file(const std::string& path);

// "0-3,8,10-11" as numbers in ascending order, each once; whatever is not such a list is left out.
std::vector<int> parse_cpu_list(std::string_view text);

// The CPUs of the calling thread's affinity mask, ascending; never empty.
std::vector<int> allowed_cpus();

// The tightest CPU quota of the process's cgroups, in CPUs; 0 where there is none. Every level up to the mount counts,
// since a parent's limit holds for its children.
double cgroup_quota(const ReadFile& read = read_file);

// min(allowed, quota rounded up), at least 1; a quota of 0 is none.
int available_cpus(int allowed, double quota) noexcept;
int available_cpus();

}  // namespace tailrace::sched
