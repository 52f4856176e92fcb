// launch.hpp -- a grid of blocks on the host: arguments from outside, faults caught, shared memory poisoned
// What:    SHIM_KERNEL(name) exports shim_run_<name> and shim_signature_<name> for a kernel of the same translation unit.
// Why:     the test's launch seam calls a kernel as a driver would: by name, with an array of pointers to its arguments.
// Threads: one.
// Checked: tests/kernels/cuda/test_shim.py
#pragma once
#include <dlfcn.h>

#include <new>
#include <type_traits>
#include <utility>

#include "fibers.hpp"

extern "C" {
// The linker's own marks around what lies in the section that __shared__ names; absent without any.
extern char __start_tailrace_shared[] __attribute__((weak, visibility("hidden")));
extern char __stop_tailrace_shared[] __attribute__((weak, visibility("hidden")));
}

namespace shim {

inline char* dynamic_begin;
inline std::size_t dynamic_bytes;

namespace detail {

// Dynamic shared memory ends at a page that may not be touched.
inline void make_dynamic(std::size_t bytes) {
  constexpr std::size_t kMost = 232448;  // what a block may have on sm_90
  static char* pages = nullptr;
  if (bytes > kMost) fail("%zu bytes of dynamic shared memory, and a block may have %zu", bytes, kMost);
  constexpr std::size_t kPages = (kMost + 4095) / 4096 * 4096;
  if (pages == nullptr) {
    pages =
        static_cast<char*>(mmap(nullptr, kPages + 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    mprotect(pages + kPages, 4096, PROT_NONE);
  }
  dynamic_bytes = bytes;
  dynamic_begin = pages + kPages - (bytes + 15) / 16 * 16;
}

inline void on_fault(int signal, siginfo_t* info, void*) {
  Dl_info here{};
  const void* at = signal == SIGILL ? info->si_addr : nullptr;
  if (at != nullptr && dladdr(at, &here) != 0) {
    outcome->code = static_cast<std::uint64_t>(static_cast<const char*>(at) - static_cast<const char*>(here.dli_fbase));
  }
  if (signal == SIGSEGV) outcome->address = reinterpret_cast<std::uint64_t>(info->si_addr);
  const char* what = signal == SIGILL
                         ? "an index outside of an array, a misaligned pointer, an overflow or a division by zero"
                     : signal == SIGFPE ? "a division by zero"
                                        : "an access outside of every array";
  const uint3 t = running != nullptr ? running->thread : uint3{0, 0, 0};
  std::snprintf(outcome->message, sizeof outcome->message, "thread (%u, %u, %u) of block (%u, %u, %u): %s", t.x, t.y,
                t.z, block_index.x, block_index.y, block_index.z, what);
  siglongjmp(leave, 1);
}

class Faults {
 public:
  Faults() {
    static char stack[64 * 1024];
    stack_t own{};
    own.ss_sp = stack;
    own.ss_size = sizeof stack;
    sigaltstack(&own, &before_stack_);
    struct sigaction action{};
    action.sa_sigaction = on_fault;
    action.sa_flags = SA_SIGINFO | SA_ONSTACK;
    for (int i = 0; i < 4; ++i) sigaction(kSignals[i], &action, &before_[i]);
  }
  ~Faults() {
    for (int i = 0; i < 4; ++i) sigaction(kSignals[i], &before_[i], nullptr);
    sigaltstack(&before_stack_, nullptr);
  }
  Faults(const Faults&) = delete;
  Faults& operator=(const Faults&) = delete;

 private:
  static constexpr int kSignals[4] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE};
  struct sigaction before_[4];
  stack_t before_stack_{};
};

template <class T>
void append_code(char*& end) {
  char kind = 'V';
  if constexpr (std::is_same_v<T, bool>) {
    kind = 'b';
  } else if constexpr (std::is_floating_point_v<T>) {
    kind = 'f';
  } else if constexpr (std::is_integral_v<T>) {
    kind = std::is_signed_v<T> ? 'i' : 'u';
  } else if constexpr (requires { T::kDtype; }) {
    kind = T::kDtype;  // a 16-bit float
  }
  end += std::sprintf(end, "%c%zu", kind, sizeof(T));
}

template <class T>
void append_argument(char*& end) {
  if constexpr (std::is_pointer_v<T>) {
    using Pointee = std::remove_pointer_t<T>;
    *end++ = std::is_const_v<Pointee> ? 'C' : 'P';
    append_code<std::remove_cv_t<Pointee>>(end);
  } else {
    append_code<std::remove_cv_t<T>>(end);
  }
  *end++ = ',';
}

template <class... A, std::size_t... I>
void call(void (*kernel)(A...), void** args, std::index_sequence<I...>) {
  kernel(*static_cast<std::remove_reference_t<A>*>(args[I])...);
}

template <class... A>
struct Bound {
  void (*kernel)(A...);
  void** args;
  static void body(void* self) {
    call(static_cast<Bound*>(self)->kernel, static_cast<Bound*>(self)->args, std::index_sequence_for<A...>{});
  }
};

}  // namespace detail

template <class... A>
const char* signature(void (*)(A...)) {
  static char text[1024];
  char* end = text;
  (detail::append_argument<A>(end), ...);
  *end = 0;
  return text;
}

template <class... A>
int run(void (*kernel)(A...), const unsigned* grid, const unsigned* block, std::size_t shared, std::uint64_t seed,
        void** args, Outcome* result) {
  *result = Outcome{};
  outcome = result;
  running = nullptr;
  detail::random_state = seed;
  grid_dim = {grid[0], grid[1], grid[2]};
  block_dim = {block[0], block[1], block[2]};
  detail::Faults faults;
  if (sigsetjmp(detail::leave, 1) != 0) return 1;
  detail::make_dynamic(shared);
  const unsigned blocks = grid[0] * grid[1] * grid[2];
  auto* order = static_cast<unsigned*>(std::malloc(blocks * sizeof(unsigned)));
  for (unsigned i = 0; i < blocks; ++i) order[i] = i;
  detail::shuffle(order, blocks);
  detail::Bound<A...> bound{kernel, args};
  for (unsigned i = 0; i < blocks; ++i) {
    block_index = {order[i] % grid[0], order[i] / grid[0] % grid[1], order[i] / (grid[0] * grid[1])};
    // All bits one: not a number as a float, minus one as an integer.
    if (__start_tailrace_shared != nullptr) {
      std::memset(__start_tailrace_shared, 0xff,
                  static_cast<std::size_t>(__stop_tailrace_shared - __start_tailrace_shared));
    }
    std::memset(dynamic_begin, 0xff, (shared + 15) / 16 * 16);
    run_block(detail::Bound<A...>::body, &bound);
  }
  std::free(order);
  return 0;
}

}  // namespace shim

#define SHIM_KERNEL(name)                                                                                            \
  extern "C" __attribute__((visibility("default"))) const char* shim_signature_##name() {                            \
    return shim::signature(&name);                                                                                   \
  }                                                                                                                  \
  extern "C" __attribute__((visibility("default"))) int shim_run_##name(const unsigned* grid, const unsigned* block, \
                                                                        std::size_t shared, std::uint64_t seed,      \
                                                                        void** args, shim::Outcome* result) {        \
    return shim::run(&name, grid, block, shared, seed, args, result);                                                \
  }
