// test_adaptors.cpp -- what stands in front of a pool, alone and one in front of the other.
#include "tailrace/pool/adaptors.hpp"

#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <memory_resource>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "../harness.hpp"
#include "tailrace/pool/memory_pool.hpp"

namespace {

using namespace tailrace::pool;

constexpr std::size_t kMiB = std::size_t{1} << 20;

template <class Error, class Body>
bool throws(Body body) {
  try {
    body();
  } catch (const Error&) {
    return true;
  }
  return false;
}

TEST(a_limit_refuses_what_is_more_and_takes_back_what_was_refused) {
  MemoryPool pool{{.limit_bytes = 16 * kMiB}};
  LimitResource limit{pool.resource(), 1000};
  void* most = limit.allocate(900);
  CHECK(throws<PoolExhausted>([&] { (void)limit.allocate(101); }));
  CHECK(throws<PoolExhausted>([&] { (void)limit.allocate(static_cast<std::size_t>(-1)); }));
  void* rest = limit.allocate(100);
  CHECK_EQ(limit.usage().used_bytes, std::size_t{1000});
  CHECK_EQ(limit.usage().n_refused, std::uint64_t{2});
  limit.deallocate(most, 900);
  limit.deallocate(rest, 100);
  CHECK_EQ(limit.usage().used_bytes, std::size_t{0});
  CHECK_EQ(limit.usage().peak_used_bytes, std::size_t{1000});
}

TEST(what_upstream_refuses_counts_nowhere) {
  MemoryPool pool{{.limit_bytes = kMiB}};
  TagResource tag{pool.resource(), "decoder"};
  StatisticsResource statistics{&tag};
  CHECK(throws<PoolExhausted>([&] { (void)statistics.allocate(2 * kMiB); }));
  CHECK_EQ(tag.usage().used_bytes, std::size_t{0});
  CHECK_EQ(tag.usage().n_alloc, std::uint64_t{0});
  CHECK_EQ(statistics.usage().n_alloc, std::uint64_t{0});
  CHECK_EQ(tag.name(), std::string{"decoder"});
}

TEST(scopes_nest_and_each_counts_from_its_beginning) {
  MemoryPool pool{{.limit_bytes = 16 * kMiB}};
  StatisticsResource statistics{pool.resource()};
  void* before = statistics.allocate(100);
  StatisticsResource::Scope outer{statistics};
  void* first = statistics.allocate(1000);
  {
    StatisticsResource::Scope inner{statistics};
    void* second = statistics.allocate(500);
    statistics.deallocate(second, 500);
    statistics.deallocate(before, 100);
    CHECK_EQ(inner.usage().n_alloc, std::uint64_t{1});
    CHECK_EQ(inner.usage().n_free, std::uint64_t{2});
    CHECK_EQ(inner.usage().used_bytes, std::size_t{0});
    CHECK_EQ(inner.usage().peak_used_bytes, std::size_t{500});
  }
  CHECK_EQ(outer.usage().n_alloc, std::uint64_t{2});
  CHECK_EQ(outer.usage().used_bytes, std::size_t{900});
  CHECK_EQ(outer.usage().peak_used_bytes, std::size_t{1500});
  statistics.deallocate(first, 1000);
  CHECK_EQ(statistics.usage().used_bytes, std::size_t{0});
  CHECK_EQ(statistics.usage().peak_used_bytes, std::size_t{1600});
}

TEST(who_is_asked_may_free_something_and_say_try_again) {
  MemoryPool pool{{.limit_bytes = 2 * kMiB}};
  void* spare = pool.allocate(3 * kMiB / 2);
  int asked = 0;
  RetryResource retry{pool.resource(), [&](std::size_t bytes, std::size_t) {
                        ++asked;
                        if (spare == nullptr) return false;
                        CHECK_EQ(bytes, kMiB);
                        pool.deallocate(std::exchange(spare, nullptr));
                        return true;
                      }};
  void* block = retry.allocate(kMiB);
  CHECK_EQ(asked, 1);
  CHECK(throws<PoolExhausted>([&] {
    while (true) (void)retry.allocate(kMiB);
  }));
  retry.deallocate(block, kMiB);
  CHECK(throws<std::invalid_argument>([&] { RetryResource{pool.resource(), nullptr}; }));
  CHECK(throws<std::invalid_argument>([&] { LimitResource{nullptr, 5}; }));
}

TEST(a_trace_has_each_call_in_an_order_in_which_it_can_be_replayed) {
  const std::string name = "tailrace-trace-" + std::to_string(getpid()) + ".csv";
  const std::string path = std::filesystem::temp_directory_path() / name;
  MemoryPool pool{{.limit_bytes = 16 * kMiB}};
  {
    TraceResource trace{pool.resource(), path, "run"};
    const auto work = [&] {
      for (std::size_t i = 1; i <= 200; ++i) trace.deallocate(trace.allocate(i * 7), i * 7);
      (void)trace.allocate(5);  // a trace may end with blocks still live
    };
    std::thread other{work};
    work();
    other.join();
  }
  std::ifstream file{path};
  std::string line;
  CHECK(std::getline(file, line) && line == "ns,thread,op,id,bytes,tag");
  std::map<std::string, std::string> live;
  int lines = 0;
  long long last_ns = 0;
  while (std::getline(file, line)) {
    std::vector<std::string> cells;
    for (std::size_t at = 0, end = 0; end != std::string::npos; at = end + 1) {
      end = line.find(',', at);
      cells.push_back(line.substr(at, end == std::string::npos ? end : end - at));
    }
    CHECK_EQ(cells.size(), std::size_t{6});
    CHECK(std::atoll(cells[0].c_str()) >= last_ns);
    last_ns = std::atoll(cells[0].c_str());
    CHECK(cells[1] == "0" || cells[1] == "1");
    if (cells[2] == "alloc") {
      CHECK(live.emplace(cells[3], cells[4]).second);
    } else {
      CHECK_EQ(live[cells[3]], cells[4]);
      live.erase(cells[3]);
    }
    CHECK_EQ(cells[5], std::string{"run"});
    ++lines;
  }
  CHECK_EQ(lines, 802);
  CHECK_EQ(live.size(), std::size_t{2});
  unlink(path.c_str());
  CHECK(throws<std::system_error>([&] { TraceResource{pool.resource(), "/nowhere/trace.csv"}; }));
}

TEST(adaptors_stand_in_front_of_each_other_and_count_what_all_threads_do) {
  MemoryPool pool{{.limit_bytes = 32 * kMiB}};
  TagResource tag{pool.resource(), "all", 16 * kMiB};
  StatisticsResource statistics{&tag};
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      std::pmr::map<int, std::pmr::vector<int>> numbers{&statistics};
      for (int i = 0; i < 300; ++i) numbers[i].assign(static_cast<std::size_t>(i % 40), i);
    });
  }
  for (auto& thread : threads) thread.join();
  CHECK_EQ(tag.usage().used_bytes, std::size_t{0});
  CHECK_EQ(statistics.usage().used_bytes, std::size_t{0});
  CHECK_EQ(tag.usage().n_alloc, statistics.usage().n_free);
  CHECK(tag.usage().n_alloc > 4 * 500);
  CHECK_EQ(pool.statistics().used_bytes, std::size_t{0});
}

}  // namespace
