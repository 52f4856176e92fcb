// main.cpp -- `tailrace_gate NAME` walks one path and says how many operations it did; `--list`, `--compiler`.
#include <gnu/libc-version.h>

#include <cstring>

#include "gate.hpp"

extern "C" [[gnu::noinline]] void tailrace_gate_measured(void (*body)(void*), void* argument) {
  body(argument);
  asm volatile("" ::: "memory");  // not a tail call: the function must be on the stack while `body` runs
}

namespace {

#if defined(__x86_64__)
constexpr const char* kMachine = "x86_64";
#elif defined(__aarch64__)
constexpr const char* kMachine = "aarch64";
#else
constexpr const char* kMachine = "another machine";
#endif

// What the counts depend on beside our own sources.
void print_compiler() {
#if defined(__clang__)
  std::printf("clang %d.%d.%d", __clang_major__, __clang_minor__, __clang_patchlevel__);
#else
  std::printf("gcc %d.%d.%d", __GNUC__, __GNUC_MINOR__, __GNUC_PATCHLEVEL__);
#endif
  std::printf(", glibc %s, %s\n", gnu_get_libc_version(), kMachine);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc == 2 && std::strcmp(argv[1], "--compiler") == 0) return print_compiler(), 0;
  if (argc == 2 && std::strcmp(argv[1], "--list") == 0) {
    for (const gate::Path& path : gate::paths()) std::printf("%s\t%s\n", path.name, path.operation);
    return 0;
  }
  for (const gate::Path& path : gate::paths()) {
    if (argc != 2 || std::strcmp(argv[1], path.name) != 0) continue;
    gate::Meter meter;
    path.measure(meter);
    std::printf("%d\n", meter.operations());
    return 0;
  }
  std::fprintf(stderr, "usage: %s --compiler | --list | NAME\n", argv[0]);
  return 2;
}
