// isa.hpp -- which instruction set the kernels use: the best this machine has, or the one that was asked for.
//
// What      `chosen_isa()` and TAILRACE_KERNELS_TABLE, which declares an op's table of kernels for each level and the function
//           that picks one.
// Why       One wheel for every machine of its kind: each cpu.cpp is compiled once per level, and chosen here, at run time.
// Threads   `force_isa` is for tests: nobody may be inside a kernel. All else may be called from any thread.
// Source    The levels follow the x86-64 psABI (v3, v4); vnni is what Ice Lake and Zen 4 added.
// Checked   tests/kernels/test_isa.py; every op's tests run at every level.
#pragma once

#include <string>

namespace tailrace::kernels {

enum class Isa : int { baseline = 0, avx2 = 1, avx512 = 2, vnni = 3 };

inline constexpr const char* kIsaNames[] = {"baseline", "avx2", "avx512", "vnni"};

Isa best_isa();

// The best, unless TAILRACE_ISA in the environment or `force_isa` says less.
Isa chosen_isa();

// Throws std::invalid_argument for a name that is no level, or a level that this machine does not have.
Isa parse_isa(const std::string& name);

void force_isa(Isa isa);

}  // namespace tailrace::kernels

// On other machines than x86-64 there is one level.
#if defined(__x86_64__)
#define TAILRACE_KERNELS_TABLE(Type, name)                                      \
  namespace baseline {                                                          \
  extern const Type name;                                                       \
  }                                                                             \
  namespace avx2 {                                                              \
  extern const Type name;                                                       \
  }                                                                             \
  namespace avx512 {                                                            \
  extern const Type name;                                                       \
  }                                                                             \
  namespace vnni {                                                              \
  extern const Type name;                                                       \
  }                                                                             \
  inline const Type& name(Isa isa) {                                            \
    switch (isa) {                                                              \
      case Isa::avx2:                                                           \
        return avx2::name;                                                      \
      case Isa::avx512:                                                         \
        return avx512::name;                                                    \
      case Isa::vnni:                                                           \
        return vnni::name;                                                      \
      default:                                                                  \
        return baseline::name;                                                  \
    }                                                                           \
  }                                                                             \
  inline const Type& name() { return name(::tailrace::kernels::chosen_isa()); } \
  static_assert(true)
#else
#define TAILRACE_KERNELS_TABLE(Type, name)                \
  namespace baseline {                                    \
  extern const Type name;                                 \
  }                                                       \
  inline const Type& name(Isa) { return baseline::name; } \
  inline const Type& name() { return baseline::name; }    \
  static_assert(true)
#endif
