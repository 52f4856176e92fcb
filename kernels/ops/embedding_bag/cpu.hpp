// cpu.hpp -- embedding bags: sums of the rows that each bag names.
//
// What      `EmbeddingBagKernels`: one function per storage type, over bags in CSR form.
// Why       The rows are scattered in a table larger than any cache: what counts is to ask for the next ones in time.
// Threads   Any; writes `out` only.
// Source    Naumov et al., "Deep Learning Recommendation Model", 2019, section 4; the CSR form of bags.
// Checked   tests/kernels/test_ops.py against reference.py; tests/cpp/kernels/test_embedding_bag.cpp for what lies behind the ends.
#pragma once

#include <cstddef>
#include <cstdint>

#include "cpu/half.hpp"
#include "cpu/isa.hpp"

namespace tailrace::kernels {

template <class T>
struct EmbeddingBagArgs {
  const T* table;  // [rows, dim]
  const float* scales;  // [rows], or null: what a stored value stands for
  const std::int64_t* indices;  // [items], each below rows
  const std::int64_t* offsets;  // [bags + 1], rising, the last is items
  const float* weights;  // [items], or null
  float* out;  // [bags, dim]
  std::size_t bags;
  std::size_t dim;
  bool mean;
};

struct EmbeddingBagKernels {
  void (*f32)(const EmbeddingBagArgs<float>&);
  void (*f16)(const EmbeddingBagArgs<Half>&);
  void (*i8)(const EmbeddingBagArgs<std::int8_t>&);
};

TAILRACE_KERNELS_TABLE(EmbeddingBagKernels, embedding_bag);

}  // namespace tailrace::kernels
