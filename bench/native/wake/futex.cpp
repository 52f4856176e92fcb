// The floor: one thread sleeps on a word, the other writes it and asks the system to wake one.
#ifdef __linux__
#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

#include <thread>

#include "workload.hpp"

namespace {

constexpr std::uint32_t kNone = 0, kTask = 1, kEnd = 2;

#ifdef __linux__
std::atomic<std::uint32_t> word{kNone};
bench::wake::Task task;

void wake() { syscall(SYS_futex, &word, FUTEX_WAKE_PRIVATE, 1, nullptr, nullptr, 0); }

void sleeper() {
  for (;;) {
    while (word.load(std::memory_order_acquire) == kNone) {
      syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, kNone, nullptr, nullptr, 0);
    }
    if (word.load(std::memory_order_relaxed) == kEnd) return;
    word.store(kNone, std::memory_order_relaxed);  // before the task: it lets the giver go on
    task();
  }
}
#endif

}  // namespace

int main(int argc, char** argv) {
  const bench::Options options = bench::parse(argc, argv);
#ifdef __linux__
  std::thread thread{sleeper};
  bench::wake::measure("futex", options, [](const bench::wake::Task& given) {
    task = given;
    word.store(kTask, std::memory_order_release);
    wake();
  });
  word.store(kEnd, std::memory_order_release);
  wake();
  thread.join();
#else
  static_cast<void>(options);  // no such call here: no floor to show
#endif
}
