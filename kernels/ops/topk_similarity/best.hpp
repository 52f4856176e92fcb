// best.hpp -- the best k of a stream of scores: a threshold that most scores fail, and a buffer for those that do not.
//
// What      `Best`: `threshold` to compare with in registers, `add` for what passed, `write` at the end, best first.
// Why       A heap costs log k for each of them; a buffer of twice the size is halved by quickselect, O(1) each, also when
//           the scores rise and every one passes.
// Threads   One.
// Checked   tests/kernels/test_topk_similarity.py: rising, falling, equal scores, k = 1 and k = all.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "ops/topk_similarity/cpu.hpp"

namespace tailrace::kernels::TAILRACE_ISA {
namespace {

struct Entry {
  float score;
  std::uint32_t key;
};

struct Before {
  bool operator()(const Entry& a, const Entry& b) const {
    return a.score > b.score || (a.score == b.score && a.key < b.key);
  }
};

constexpr std::size_t buffer_entries(std::size_t k) { return 2 * k + 64; }

struct Best {
  Entry* entries;
  std::size_t size;
  float threshold;  // NaN until there are k: no score is "less or equal" to it

  // Keys come in rising order, so what equals the threshold is later and loses.
  void add(float score, std::size_t key, std::size_t k) {
    entries[size++] = {score, static_cast<std::uint32_t>(key)};
    if (size == buffer_entries(k)) {
      std::nth_element(entries, entries + (k - 1), entries + size, Before{});
      size = k;
      threshold = entries[k - 1].score;
    }
  }

  void write(std::size_t k, float* scores, std::int64_t* keys) {
    std::nth_element(entries, entries + (k - 1), entries + size, Before{});
    std::sort(entries, entries + k, Before{});
    for (std::size_t i = 0; i < k; ++i) {
      scores[i] = entries[i].score;
      keys[i] = entries[i].key;
    }
  }
};

}  // namespace
}  // namespace tailrace::kernels::TAILRACE_ISA
