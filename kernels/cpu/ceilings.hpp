// ceilings.hpp -- what this machine can do at most, measured: multiply-adds and bytes of one thread.
//
// What      `CeilingKernels`: float32 FLOP/s from registers, bytes/s read from a block of a given size.
// Why       A kernel's share of the roofline says whether there is anything left to gain; a datasheet does not know this machine.
// Threads   Any; measures the thread that calls.
// Source    Williams, Waterman, Patterson, "Roofline", CACM 52(4), 2009.
// Checked   tests/kernels/test_isa.py.
#pragma once

#include <cstddef>

#include "cpu/isa.hpp"

namespace tailrace::kernels {

struct CeilingKernels {
  double (*flops_per_s)();
  double (*bytes_per_s)(std::size_t bytes);
};

TAILRACE_KERNELS_TABLE(CeilingKernels, ceilings);

}  // namespace tailrace::kernels
