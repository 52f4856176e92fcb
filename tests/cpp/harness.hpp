// harness.hpp -- our own test harness: tests with sentences for names, and checks that say what they saw.
//
// What      TEST(a_sentence) { CHECK(x); CHECK_EQ(a, b); }  The program's arguments filter by part of a name.
// Why       A hundred lines that compile at once, instead of a framework that does not.
// Threads   CHECK: any thread. Tests run one after another on the main thread.
#pragma once

#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <iostream>
#include <mutex>
#include <sstream>
#include <string>
#include <vector>

namespace tailrace::test {

struct Case {
  const char* name;
  void (*body)();
};

inline std::vector<Case>& cases() {
  static std::vector<Case> all;
  return all;
}

inline std::atomic<int>& failures() {
  static std::atomic<int> count{0};
  return count;
}

struct Registration {
  Registration(const char* name, void (*body)()) { cases().push_back({name, body}); }
};

inline void report(const char* file, int line, const std::string& what) {
  static std::mutex mutex;
  const std::lock_guard lock{mutex};
  if (failures().fetch_add(1) < 20) std::cerr << file << ":" << line << ": " << what << std::endl;
}

// A seed for this process: TAILRACE_SEED, or a fixed one, so that a run repeats unless asked not to.
inline std::uint64_t seed() {
  static const std::uint64_t value = [] {
    const char* text = std::getenv("TAILRACE_SEED");
    return text == nullptr ? 20'240'607u : std::strtoull(text, nullptr, 0);
  }();
  return value;
}

// How much a stress test does: 1 by default, a few seconds in all.
inline std::uint64_t stress_factor() {
  const char* text = std::getenv("TAILRACE_STRESS");
  const std::uint64_t value = text == nullptr ? 1 : std::strtoull(text, nullptr, 0);
  return value == 0 ? 1 : value;
}

// The thread sanitizer ends a forked child that starts a thread.
#if defined(__SANITIZE_THREAD__)
inline constexpr bool kThreadsAfterFork = false;
inline constexpr int kSlower = 10;  // by which random programs are shorter
#else
inline constexpr bool kThreadsAfterFork = true;
inline constexpr int kSlower = 1;
#endif

template <class T>
std::string shown(const T& value) {
  std::ostringstream out;
  if constexpr (std::is_enum_v<T>) {
    out << static_cast<long long>(value);
  } else if constexpr (requires { out << value; }) {
    out << value;
  } else {
    out << "(not printable)";
  }
  return out.str();
}

inline int run_all(int argc, char** argv) {
  int passed = 0, failed = 0;
  std::cout << "seed " << seed() << std::endl;
  for (const Case& one : cases()) {
    bool wanted = argc < 2;
    for (int i = 1; i < argc; ++i) wanted = wanted || std::string{one.name}.find(argv[i]) != std::string::npos;
    if (!wanted) continue;
    const int before = failures();
    try {
      one.body();
    } catch (const std::exception& error) {
      report(one.name, 0, std::string{"unexpected exception: "} + error.what());
    }
    const bool good = failures() == before;
    ++(good ? passed : failed);
    std::cout << (good ? "ok      " : "FAILED  ") << one.name << std::endl;
  }
  std::cout << passed << " passed, " << failed << " failed" << std::endl;
  return failed == 0 && passed > 0 ? 0 : 1;
}

template <class Left, class Right>
void check_equal(const char* file, int line, const char* what, const Left& left, const Right& right) {
  if (!(left == right)) report(file, line, what + shown(left) + " is not " + shown(right));
}

}  // namespace tailrace::test

#define TEST(name)                                                                  \
  static void test_##name();                                                        \
  static const ::tailrace::test::Registration register_##name{#name, &test_##name}; \
  static void test_##name()

#define CHECK(condition)                                                                              \
  do {                                                                                                \
    if (!(condition)) ::tailrace::test::report(__FILE__, __LINE__, "CHECK(" #condition ") is false"); \
  } while (false)

// A call, so that what an operand is part of lives until it has been compared.
#define CHECK_EQ(left, right) \
  ::tailrace::test::check_equal(__FILE__, __LINE__, "CHECK_EQ(" #left ", " #right "): ", left, right)

#define CHECK_THROWS(type, ...)                                                                        \
  do {                                                                                                 \
    bool check_thrown = false;                                                                         \
    try {                                                                                              \
      __VA_ARGS__;                                                                                     \
    } catch (const type&) {                                                                            \
      check_thrown = true;                                                                             \
    }                                                                                                  \
    if (!check_thrown) ::tailrace::test::report(__FILE__, __LINE__, #__VA_ARGS__ " throws no " #type); \
  } while (false)
