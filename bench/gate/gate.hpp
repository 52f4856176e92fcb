// gate.hpp -- what a path of the instruction gate looks like.
//
// What      GATE_PATH(name, "what one operation is") { ...; meter.count(n, body); } registers a path; `body` does n operations.
// Why       Times of single-thread paths drown in a shared machine's noise; their instructions repeat to the last few.
// Threads   The main thread only: no path may start another, or the count depends on who was faster.
// Checked   tests/test_gate.py; each path checks its own answer.
#pragma once

#include <cstdio>
#include <cstdlib>
#include <vector>

// Callgrind counts while this function is on the stack. Its own few instructions are spread over all operations.
extern "C" void tailrace_gate_measured(void (*body)(void*), void* argument);

namespace gate {

class Meter {
 public:
  // Runs `body` once to warm up, so that first-use costs are not counted, and once more to be counted.
  template <class Body>
  void count(int operations, Body&& body) {
    operations_ = operations;
    body();
    tailrace_gate_measured([](void* it) { (*static_cast<std::remove_reference_t<Body>*>(it))(); }, &body);
  }
  int operations() const noexcept { return operations_; }

 private:
  int operations_ = 0;
};

struct Path {
  const char* name;
  const char* operation;
  void (*measure)(Meter&);
};

inline std::vector<Path>& paths() {
  static std::vector<Path> all;
  return all;
}

struct Registration {
  Registration(const char* name, const char* operation, void (*measure)(Meter&)) {
    paths().push_back({name, operation, measure});
  }
};

inline void require(bool right, const char* what) {
  if (right) return;
  std::fprintf(stderr, "wrong answer: %s\n", what);
  std::exit(1);
}

}  // namespace gate

#define GATE_PATH(name, operation)                                                      \
  static void measure_##name(::gate::Meter& meter);                                     \
  static const ::gate::Registration register_##name{#name, operation, &measure_##name}; \
  static void measure_##name(::gate::Meter& meter)
