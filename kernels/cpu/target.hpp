// target.hpp -- from here to end_target.hpp, functions are compiled for the level that TAILRACE_ISA_LEVEL names.
//
// What      Sets the target of the functions that follow, and brings the intrinsics.
// Why       A flag of the command line would also reach the inline functions of the standard headers, of which the linker keeps
//           any one copy: an AVX-512 one for everybody, in the worst case. So include the standard headers first, then this.
// Threads   None.
// Checked   tests/house/test_wheel_flags.py forbids -m flags; tests/kernels/test_isa.py looks for shared copies in the objects.
#pragma once

#if !defined(TAILRACE_ISA) || !defined(TAILRACE_ISA_LEVEL)
#error "TAILRACE_ISA and TAILRACE_ISA_LEVEL are set by kernels/CMakeLists.txt"
#endif

#if TAILRACE_ISA_LEVEL >= 1
#include <immintrin.h>
#endif

#if defined(__clang__)
#if TAILRACE_ISA_LEVEL == 1
#pragma clang attribute push(__attribute__((target("avx2,fma,f16c,bmi,bmi2,lzcnt,popcnt"))), apply_to = function)
#elif TAILRACE_ISA_LEVEL == 2
#pragma clang attribute push(                                                                                   \
    __attribute__((target("avx2,fma,f16c,bmi,bmi2,lzcnt,popcnt,avx512f,avx512bw,avx512dq,avx512vl,avx512cd"))), \
    apply_to = function)
#elif TAILRACE_ISA_LEVEL == 3
#pragma clang attribute push(                                                                                       \
    __attribute__((target(                                                                                          \
        "avx2,fma,f16c,bmi,bmi2,lzcnt,popcnt,avx512f,avx512bw,avx512dq,avx512vl,avx512cd,avx512vnni,avx512vbmi"))), \
    apply_to = function)
#endif
#elif defined(__GNUC__)
#if TAILRACE_ISA_LEVEL == 1
#pragma GCC push_options
#pragma GCC target("avx2,fma,f16c,bmi,bmi2,lzcnt,popcnt")
#elif TAILRACE_ISA_LEVEL == 2
#pragma GCC push_options
#pragma GCC target( \
    "avx2,fma,f16c,bmi,bmi2,lzcnt,popcnt,avx512f,avx512bw,avx512dq,avx512vl,avx512cd,prefer-vector-width=512")
#elif TAILRACE_ISA_LEVEL == 3
#pragma GCC push_options
#pragma GCC target( \
    "avx2,fma,f16c,bmi,bmi2,lzcnt,popcnt,avx512f,avx512bw,avx512dq,avx512vl,avx512cd,avx512vnni,avx512vbmi,prefer-vector-width=512")
#endif
#endif
