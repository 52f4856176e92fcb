// cpu.hpp -- exact top-k: the keys with the highest scores for each query, without ever storing the scores.
//
// What      `TopkKernels`: one function per storage type, over keys in rows as they come or in panels as a Retriever packs them.
// Why       Scores are 100,000 floats a query, of which ten are wanted: they are compared while they are in registers.
// Threads   Any; writes `scores` and `indices` only, beside its thread's scratch.
// Source    Goto and van de Geijn, "Anatomy of High-Performance Matrix Multiplication", 2008 (panels); the selection is a
//           threshold and a buffer that is halved by quickselect (Hoare, 1961).
// Checked   tests/kernels/test_topk_similarity.py; tests/cpp/kernels/test_topk_similarity.cpp for what lies behind the ends.
#pragma once

#include <cstddef>
#include <cstdint>

#include "cpu/half.hpp"
#include "cpu/isa.hpp"

namespace tailrace::kernels {

inline constexpr std::size_t kPanelKeys = 16;  // a panel: [dim][16 keys]; the last one is filled up with zeros
inline constexpr std::size_t kMostK = 1024;

constexpr std::size_t panels_of(std::size_t count) { return (count + kPanelKeys - 1) / kPanelKeys; }

template <class T>
struct TopkArgs {
  const float* queries;  // [batch, dim]
  const T* keys;  // [count, dim], or [panels][dim][16] if packed
  const float* multipliers;  // [count] if in rows, [panels * 16] if packed, or null: what each score is multiplied by
  float* scores;  // [batch, k]
  std::int64_t* indices;  // [batch, k]
  std::size_t batch;
  std::size_t dim;
  std::size_t count;  // at most 2^32 - 1
  std::size_t k;  // 1..kMostK, and not above count
  bool packed;
  bool cosine;  // in rows: keys are also divided by their lengths; packed: that is in the multipliers already
};

// A score that is not a number ends the search; `found` says whether there was one.
struct TopkNan {
  bool found;
  std::size_t query;
  std::size_t key;
};

template <class T>
struct PackArgs {
  const T* keys;  // [count, dim]
  const float* scales;  // [count] or null
  T* panels;  // [panels][dim][16]
  float* multipliers;  // [panels * 16] or null: scale, and for cosine divided by the length
  std::size_t dim;
  std::size_t count;
  bool cosine;
};

template <class T>
struct TopkFunctions {
  TopkNan (*search)(const TopkArgs<T>&);
  void (*pack)(const PackArgs<T>&);
};

struct TopkKernels {
  TopkFunctions<float> f32;
  TopkFunctions<Half> f16;
  TopkFunctions<std::int8_t> i8;
};

TAILRACE_KERNELS_TABLE(TopkKernels, topk_similarity);

}  // namespace tailrace::kernels
