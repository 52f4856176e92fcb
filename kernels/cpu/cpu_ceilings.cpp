#include "cpu/ceilings.hpp"

#include <chrono>
#include <cstddef>
#include <cstdlib>

#include "cpu/scratch.hpp"
#include "cpu/target.hpp"
#include "cpu/vec.hpp"

namespace tailrace::kernels::TAILRACE_ISA {
namespace {

struct OfCeilings;

double seconds() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

// Keeps the compiler from seeing through a value, so that the work is done, and between the two looks at the clock.
TAILRACE_INLINE void opaque(F32& value) {
#if defined(__x86_64__)
  asm volatile("" : "+v"(value));
#elif defined(__aarch64__)
  asm volatile("" : "+w"(value));
#else
  asm volatile("" : "+m"(value));
#endif
}

// Ten chains hide the latency of two multiply-add units.
__attribute__((noinline)) float multiply_adds(std::size_t rounds) {
  F32 a[10];
#pragma GCC unroll 10
  for (std::size_t i = 0; i < 10; ++i) a[i] = splat(static_cast<float>(i));
  const F32 x = splat(0.999f), y = splat(0.001f);
  for (std::size_t r = 0; r < rounds; ++r) {
#pragma GCC unroll 10
    for (auto& chain : a) {
      chain = fma(chain, x, y);
      opaque(chain);
    }
  }
  F32 total = a[0];
#pragma GCC unroll 10
  for (std::size_t i = 1; i < 10; ++i) total = total + a[i];
  return sum(total);
}

__attribute__((noinline)) float read_all(const float* from, std::size_t n) {
  F32 a[8];
  for (auto& part : a) part = splat(0);
  for (std::size_t i = 0; i + 8 * kLanes <= n; i += 8 * kLanes)
    for (std::size_t part = 0; part < 8; ++part) a[part] = a[part] + load(from + i + part * kLanes);
  for (auto& part : a) opaque(part);
  F32 total = a[0];
  for (std::size_t i = 1; i < 8; ++i) total = total + a[i];
  return sum(total);
}

double flops_per_s() {
  constexpr std::size_t kRounds = 200'000;
  double best = 0;
  volatile float kept = multiply_adds(kRounds);
  for (int turn = 0; turn < 5; ++turn) {
    const double began = seconds();
    kept = multiply_adds(kRounds);
    const double rate = 2.0 * 10 * kLanes * kRounds / (seconds() - began);
    if (rate > best) best = rate;
  }
  (void)kept;
  return best;
}

double bytes_per_s(std::size_t bytes) {
  const std::size_t n = bytes / sizeof(float) + 8 * kLanes;
  auto* block = reinterpret_cast<float*>(scratch<OfCeilings>(n * sizeof(float)));
  for (std::size_t i = 0; i < n; ++i) block[i] = static_cast<float>(i & 15);
  const std::size_t turns = 1 + (std::size_t{64} << 20) / (n * sizeof(float));
  double best = 0;
  volatile float kept = 0;
  for (int pass = 0; pass < 4; ++pass) {
    const double began = seconds();
    for (std::size_t turn = 0; turn < turns; ++turn) kept = read_all(block, n);
    const double rate = static_cast<double>(turns * n * sizeof(float)) / (seconds() - began);
    if (rate > best) best = rate;
  }
  (void)kept;
  return best;
}

}  // namespace

const CeilingKernels ceilings{&flops_per_s, &bytes_per_s};

}  // namespace tailrace::kernels::TAILRACE_ISA

#include "cpu/end_target.hpp"
