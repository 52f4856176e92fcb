// fibers.hpp -- one block of CUDA threads as fibers, run in an order that a seed shuffles
// What:    run_block() runs a body once for each thread of a block. A thread runs until it meets a barrier or an exchange
//          within its warp; then another one goes on. The seed draws in which order.
// Why:     a barrier that is missing makes the result depend on the order, and the order changes with the seed.
// Threads: one. Switching is setjmp/longjmp; each fiber is entered once by ucontext, which gives it its stack.
// Source:  the semantics of barriers and warp exchanges as in the CUDA C++ Programming Guide, sections 7.6 and 7.22.
// Checked: tests/kernels/cuda/test_shim.py, with removed barriers that every seed must find.
#pragma once
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>
#include <csetjmp>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>

struct uint3 {
  unsigned x, y, z;
};
struct dim3 {
  unsigned x = 1, y = 1, z = 1;
};

namespace shim {

constexpr unsigned kMostThreads = 1024;
constexpr unsigned kWarp = 32;
constexpr std::size_t kStackBytes = 128 * 1024;

enum class State { ready, at_barrier, in_exchange, ended };

struct Fiber {
  jmp_buf point;
  ucontext_t first;
  bool entered;
  State state;
  uint3 thread;
  unsigned number;  // within the block
  int line;  // where it waits
  const char* kind;  // for what
  std::uint64_t vote;  // what it brings to a barrier that counts
  std::uint64_t values[kWarp];  // what its warp brought to the last exchange
};

// One exchange of some lanes of a warp that are not all there yet.
struct Exchange {
  unsigned mask, arrived;
  int line;
  const char* kind;
  std::uint64_t values[kWarp];
};

struct Outcome {
  char message[400];
  std::uint64_t address;  // of a bad access, 0 if it was none
  std::uint64_t code;  // offset of the instruction in this library, 0 if unknown
};

inline Fiber* running;
inline dim3 block_dim, grid_dim;
inline uint3 block_index;
inline Outcome* outcome;
inline std::uint64_t barrier_sum, barrier_count;

namespace detail {

inline Fiber* fibers;
inline unsigned threads;
inline char* stacks;
inline Exchange exchanges[kMostThreads];  // by warp, at most 32 disjoint masks in each
inline jmp_buf scheduler;
inline sigjmp_buf leave;
inline std::uint64_t random_state;
inline void (*body)(void*);
inline void* body_data;

inline std::uint64_t random() {  // splitmix64 (Steele, Lea, Flood 2014)
  std::uint64_t z = random_state += 0x9e3779b97f4a7c15u;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return z ^ (z >> 31);
}

inline void shuffle(unsigned* order, unsigned n) {
  for (unsigned i = n; i > 1; --i) {
    const unsigned j = static_cast<unsigned>(random() % i), t = order[i - 1];
    order[i - 1] = order[j];
    order[j] = t;
  }
}

}  // namespace detail

// Ends the launch: nothing of the kernel runs any more.
template <class... A>
[[noreturn]] inline void fail(const char* format, A... a) {
  std::snprintf(outcome->message, sizeof outcome->message, format, a...);
  siglongjmp(detail::leave, 1);
}

namespace detail {

inline void yield() {
  if (_setjmp(running->point) == 0) _longjmp(scheduler, 1);
}

inline void enter() {
  body(body_data);
  running->state = State::ended;
  _longjmp(scheduler, 1);
}

inline void resume(Fiber& f) {
  running = &f;
  if (_setjmp(scheduler) != 0) return;
  if (f.entered) _longjmp(f.point, 1);
  f.entered = true;
  setcontext(&f.first);
}

inline void make_fibers(unsigned n) {
  if (stacks == nullptr) {
    fibers = static_cast<Fiber*>(std::calloc(kMostThreads, sizeof(Fiber)));
    stacks = static_cast<char*>(mmap(nullptr, kMostThreads * kStackBytes, PROT_READ | PROT_WRITE,
                                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
  }
  threads = n;
  std::memset(exchanges, 0, sizeof exchanges);
  for (unsigned i = 0; i < n; ++i) {
    Fiber& f = fibers[i];
    f.entered = false;
    f.state = State::ready;
    f.number = i;
    f.thread = {i % block_dim.x, i / block_dim.x % block_dim.y, i / (block_dim.x * block_dim.y)};
    getcontext(&f.first);
    f.first.uc_stack.ss_sp = stacks + i * kStackBytes;
    f.first.uc_stack.ss_size = kStackBytes;
    f.first.uc_link = nullptr;
    makecontext(&f.first, enter, 0);
  }
}

// Everybody who has not ended waits at the same barrier: on they go. False if all have ended.
inline bool open_barrier() {
  const Fiber* first = nullptr;
  for (unsigned i = 0; i < threads; ++i) {
    const Fiber& f = fibers[i];
    if (f.state == State::ended) continue;
    if (first == nullptr) first = &f;
    if (f.state == State::in_exchange || f.state != first->state || f.line != first->line) {
      fail("thread %u waits at %s (line %d) and thread %u at %s (line %d): they never meet", first->number, first->kind,
           first->line, f.number, f.kind, f.line);
    }
  }
  if (first == nullptr) return false;
  barrier_sum = barrier_count = 0;
  for (unsigned i = 0; i < threads; ++i) {
    if (fibers[i].state == State::ended) continue;
    barrier_sum += fibers[i].vote;
    ++barrier_count;
    fibers[i].state = State::ready;
  }
  return true;
}

}  // namespace detail

inline void barrier(int line, std::uint64_t vote = 0) {
  running->state = State::at_barrier;
  running->line = line;
  running->kind = "__syncthreads";
  running->vote = vote;
  detail::yield();
}

// Each lane of `mask` brings a value; when all have, each finds those of all in running->values.
inline void exchange(const char* kind, int line, unsigned mask, std::uint64_t value) {
  const unsigned lane = running->number % kWarp, warp = running->number / kWarp, last = detail::threads;
  if ((mask >> lane & 1) == 0)
    fail("line %d: lane %u calls %s with mask %08x, which it is not in", line, lane, kind, mask);
  Exchange* found = nullptr;
  for (unsigned i = 0; i < kWarp && found == nullptr; ++i) {
    Exchange& e = detail::exchanges[warp * kWarp + i];
    if (e.arrived != 0 && (e.mask & mask) != 0 && (e.mask != mask || e.line != line || e.kind != kind)) {
      fail("lane %u of warp %u is at %s (line %d) while others of mask %08x are at %s (line %d)", lane, warp, kind,
           line, mask, e.kind, e.line);
    }
    if (e.arrived != 0 && e.mask == mask) found = &e;
  }
  for (unsigned i = 0; found == nullptr; ++i) {
    Exchange& e = detail::exchanges[warp * kWarp + i];
    if (e.arrived == 0) *(found = &e) = Exchange{mask, 0, line, kind, {}};
  }
  found->arrived |= 1u << lane;
  found->values[lane] = value;
  const unsigned present = last - warp * kWarp < kWarp ? (1u << (last - warp * kWarp)) - 1 : ~0u;
  if (found->arrived != (mask & present)) {
    running->state = State::in_exchange;
    running->line = line;
    running->kind = kind;
    detail::yield();
    return;
  }
  for (unsigned i = 0; i < kWarp; ++i) {
    if ((found->arrived >> i & 1) == 0) continue;
    Fiber& f = detail::fibers[warp * kWarp + i];
    std::memcpy(f.values, found->values, sizeof f.values);
    f.state = State::ready;
  }
  found->arrived = 0;
}

// Runs one block to its end. Up to a barrier one warp goes after the other, and the lanes of one in an order of their own each
// time: so a warp runs as far ahead of the others as barriers let it.
inline void run_block(void (*body)(void*), void* data) {
  detail::body = body;
  detail::body_data = data;
  detail::make_fibers(block_dim.x * block_dim.y * block_dim.z);
  const unsigned count = (detail::threads + kWarp - 1) / kWarp;
  unsigned warps[kMostThreads / kWarp], lanes[kWarp];
  for (unsigned i = 0; i < count; ++i) warps[i] = i;
  do {
    detail::shuffle(warps, count);
    for (unsigned w = 0; w < count; ++w) {
      const unsigned begin = warps[w] * kWarp, end = begin + kWarp < detail::threads ? begin + kWarp : detail::threads;
      for (unsigned n = 1; n != 0;) {
        n = 0;
        for (unsigned i = begin; i < end; ++i)
          if (detail::fibers[i].state == State::ready) lanes[n++] = i;
        detail::shuffle(lanes, n);
        for (unsigned i = 0; i < n; ++i) detail::resume(detail::fibers[lanes[i]]);
      }
    }
  } while (detail::open_barrier());
}

}  // namespace shim
