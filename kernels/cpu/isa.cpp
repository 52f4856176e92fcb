#include "cpu/isa.hpp"

#include <cstdlib>
#include <stdexcept>

namespace tailrace::kernels {
namespace {

Isa found() {
#if defined(__x86_64__)
  // The compiler's own look also asks whether the kernel saves the wide registers.
  __builtin_cpu_init();
  const bool v3 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi2") &&
                  __builtin_cpu_supports("f16c");
  const bool v4 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                  __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
                  __builtin_cpu_supports("avx512cd");
  const bool vnni = __builtin_cpu_supports("avx512vnni") && __builtin_cpu_supports("avx512vbmi");
  if (v3 && v4 && vnni) return Isa::vnni;
  if (v3 && v4) return Isa::avx512;
  if (v3) return Isa::avx2;
#endif
  return Isa::baseline;
}

Isa first_choice() {
  const char* wanted = std::getenv("TAILRACE_ISA");
  return wanted != nullptr && *wanted != '\0' ? parse_isa(wanted) : best_isa();
}

// Written by force_isa only, when no kernel runs; a bound op keeps the table that it was made with.
Isa& choice() {
  static Isa isa = first_choice();
  return isa;
}

}  // namespace

Isa best_isa() {
  static const Isa best = found();
  return best;
}

Isa chosen_isa() { return choice(); }

Isa parse_isa(const std::string& name) {
  for (int level = 0; level < 4; ++level) {
    if (name != kIsaNames[level]) continue;
    if (level > static_cast<int>(best_isa()))
      throw std::invalid_argument("TAILRACE_ISA: this machine has no " + name + "; its best is " +
                                  kIsaNames[static_cast<int>(best_isa())]);
    return static_cast<Isa>(level);
  }
  throw std::invalid_argument("TAILRACE_ISA: there is no level '" + name +
                              "'; levels are baseline, avx2, avx512, vnni (or unset it for the best)");
}

void force_isa(Isa isa) { choice() = isa; }

}  // namespace tailrace::kernels
