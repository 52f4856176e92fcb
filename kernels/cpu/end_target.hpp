// end_target.hpp -- ends what target.hpp began.
//
// What      Pops the target; the last include of each cpu.cpp.
// Why       clang refuses a push that is never popped.
// Threads   None.
#pragma once

#if TAILRACE_ISA_LEVEL >= 1
#if defined(__clang__)
#pragma clang attribute pop
#elif defined(__GNUC__)
#pragma GCC pop_options
#endif
#endif
