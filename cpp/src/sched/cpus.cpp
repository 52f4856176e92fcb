#include "tailrace/sched/cpus.hpp"

#include <sched.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cmath>
#include <fstream>
#include <iterator>
#include <limits>

namespace tailrace::sched {

namespace {

std::string_view trimmed(std::string_view text) {
  const auto first = text.find_first_not_of(" \t\r\n");
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(" \t\r\n") - first + 1);
}

// Cuts `text` at the first `mark` and returns what stood before it; `text` keeps what stands behind.
std::string_view cut(std::string_view& text, char mark) {
  const auto place = text.find(mark);
  const std::string_view head = text.substr(0, place);
  text = place == std::string_view::npos ? std::string_view{} : text.substr(place + 1);
  return head;
}

bool parse_number(std::string_view text, long long& number) {
  text = trimmed(text);
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  return error == std::errc{} && end == text.data() + text.size();
}

// Quota over period; 0 for "max", -1 or anything that is no quota.
double ratio(std::string_view quota, std::string_view period) {
  long long q = 0, p = 0;
  if (!parse_number(quota, q) || !parse_number(period, p) || q <= 0 || p <= 0) return 0;
  return static_cast<double>(q) / static_cast<double>(p);
}

double quota_v2(const ReadFile& read, const std::string& folder) {
  const std::string file = read(folder + "/cpu.max");
  std::string_view text = trimmed(file);
  const std::string_view quota = cut(text, ' ');
  return ratio(quota, text.empty() ? "100000" : text);
}

double quota_v1(const ReadFile& read, const std::string& folder) {
  return ratio(read(folder + "/cpu.cfs_quota_us"), read(folder + "/cpu.cfs_period_us"));
}

bool names_cpu(std::string_view controllers) {
  while (!controllers.empty()) {
    if (cut(controllers, ',') == "cpu") return true;
  }
  return false;
}

}  // namespace

std::string read_file(const std::string& path) {
  std::ifstream file{path};
  return {std::istreambuf_iterator<char>{file}, {}};
}

std::vector<int> parse_cpu_list(std::string_view text) {
  constexpr long long kMost = 1 << 16;  // more than any Linux; a broken file must not fill the memory
  std::vector<int> cpus;
  for (text = trimmed(text); !text.empty();) {
    std::string_view range = cut(text, ',');
    const std::string_view head = cut(range, '-');
    long long first = 0, last = 0;
    if (!parse_number(head, first) || first < 0) continue;
    if (range.empty()) last = first;
    if (!range.empty() && !parse_number(range, last)) continue;
    for (long long cpu = first; cpu <= last && cpu < kMost; ++cpu) cpus.push_back(static_cast<int>(cpu));
  }
  std::sort(cpus.begin(), cpus.end());
  cpus.erase(std::unique(cpus.begin(), cpus.end()), cpus.end());
  return cpus;
}

std::vector<int> allowed_cpus() {
  std::vector<int> cpus;
  for (int size = 1024; size <= 1 << 16; size *= 2) {  // the kernel refuses a mask smaller than its own
    cpu_set_t* mask = CPU_ALLOC(size);
    if (mask == nullptr) break;
    const std::size_t bytes = CPU_ALLOC_SIZE(size);
    CPU_ZERO_S(bytes, mask);
    const bool known = sched_getaffinity(0, bytes, mask) == 0;
    const bool too_small = !known && errno == EINVAL;
    for (int cpu = 0; known && cpu < size; ++cpu) {
      if (CPU_ISSET_S(cpu, bytes, mask)) cpus.push_back(cpu);
    }
    CPU_FREE(mask);
    if (!too_small) break;
  }
  if (cpus.empty()) cpus.push_back(0);
  return cpus;
}

double cgroup_quota(const ReadFile& read) {
  double tightest = 0;
  const std::string memberships = read("/proc/self/cgroup");
  for (std::string_view text = memberships; !text.empty();) {
    std::string_view path = cut(text, '\n');
    const std::string_view hierarchy = cut(path, ':');
    const std::string_view controllers = cut(path, ':');
    const bool v2 = hierarchy == "0";
    if (!v2 && !names_cpu(controllers)) continue;
    std::vector<std::string> mounts{"/sys/fs/cgroup"};
    if (!v2) mounts = {"/sys/fs/cgroup/cpu", "/sys/fs/cgroup/cpu,cpuacct"};
    for (const std::string& mount : mounts) {
      std::string level{path == "/" ? "" : path};
      for (;;) {
        const double quota = v2 ? quota_v2(read, mount + level) : quota_v1(read, mount + level);
        if (quota > 0 && (tightest == 0 || quota < tightest)) tightest = quota;
        if (level.empty()) break;
        const auto slash = level.rfind('/');
        level.resize(slash == std::string::npos ? 0 : slash);
      }
    }
  }
  return tightest;
}

int available_cpus(int allowed, double quota) noexcept {
  const double cut_at = quota > 0 ? std::ceil(quota) : std::numeric_limits<int>::max();
  return std::max(1, cut_at < allowed ? static_cast<int>(cut_at) : allowed);
}

int available_cpus() { return available_cpus(static_cast<int>(allowed_cpus().size()), cgroup_quota()); }

}  // namespace tailrace::sched
