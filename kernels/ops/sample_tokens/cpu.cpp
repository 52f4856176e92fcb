#include "ops/sample_tokens/cpu.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>

#include "cpu/scratch.hpp"
#include "cpu/target.hpp"
#include "ops/sample_tokens/cut.hpp"
#include "ops/sample_tokens/philox.hpp"

namespace tailrace::kernels::TAILRACE_ISA {
namespace {

inline constexpr std::size_t kSumTokens = 512;  // that one partial sum covers

__extension__ typedef unsigned __int128 Wide;

struct SampleTag;

// What a row needs, kept by the thread.
struct Memory {
  explicit Memory(std::size_t tokens) {
    const std::size_t room = (tokens + kLanes + 7) / 8 * 8, sums = tokens / kSumTokens + 1;
    std::byte* block = scratch<SampleTag>(sizeof(Histogram) + room * sizeof(std::int64_t) + tokens * sizeof(Token) +
                                          sums * sizeof(std::uint64_t));
    histogram = reinterpret_cast<Histogram*>(block);
    weights = reinterpret_cast<std::int64_t*>(block + sizeof(Histogram));
    candidates = reinterpret_cast<Token*>(weights + room);
    partial = reinterpret_cast<std::uint64_t*>(candidates + tokens);
  }
  Histogram* histogram;
  std::int64_t* weights;
  Token* candidates;
  std::uint64_t* partial;
};

// Within what a float can hold: the smallest logit of all stays below the highest, not beside it.
float scale_of(double temperature) {
  return static_cast<float>(std::clamp(1.4426950408889634 / temperature, 0x1p-126, 0x1p127));
}

struct Decided {
  BadLogits bad;
  Row row;
  Cut cut;
};

Decided decide(const SampleArgs& a, std::size_t r, Memory& memory) {
  const float* logits = a.logits + r * a.tokens;
  const auto [highest, nan] = look(logits, a.tokens);
  if (nan) return {BadLogits::nan, {}, {}};
  if (highest == std::numeric_limits<float>::infinity()) return {BadLogits::infinite, {}, {}};
  if (highest == -std::numeric_limits<float>::infinity()) return {BadLogits::nothing, {}, {}};
  const double temperature = a.temperature[r];
  if (temperature == 0) return {BadLogits::none, {logits, a.tokens, highest, 0}, {}};
  const Row row{logits, a.tokens, highest, scale_of(temperature)};
  const Limits limits{temperature, static_cast<std::uint64_t>(a.top_k[r]), a.top_p[r], a.min_p[r]};
  const Cut cut = find_cut(row, limits, memory.weights, *memory.histogram, memory.candidates);
  return {BadLogits::none, row, cut};
}

std::size_t likeliest(const Row& row) {
  std::size_t i = 0;
  while (row.logits[i] != row.highest) ++i;
  return i;
}

// The first token, by index, at which the kept weights sum to more than a random share of their total.
std::size_t draw(const Row& row, const Cut& cut, const Memory& memory, std::uint64_t random) {
  // Before the last token that ties with the cut equal logits are kept, behind it only higher ones.
  const float above = std::nextafterf(cut.least, std::numeric_limits<float>::infinity());
  std::uint64_t total = 0;
  for (std::size_t begin = 0, s = 0; begin < row.tokens; begin += kSumTokens, ++s) {
    const std::size_t n = std::min(kSumTokens, row.tokens - begin);
    if (cut.last < begin || cut.last >= begin + n) {
      memory.partial[s] = kept_sum(row.logits + begin, memory.weights + begin, n, cut.last < begin ? above : cut.least);
    } else {
      const std::size_t ties = cut.last + 1 - begin;
      memory.partial[s] = kept_sum(row.logits + begin, memory.weights + begin, ties, cut.least) +
                          kept_sum(row.logits + begin + ties, memory.weights + begin + ties, n - ties, above);
    }
    total += memory.partial[s];
  }
  auto left = static_cast<std::uint64_t>(Wide{random} * total >> 64);
  std::size_t s = 0;
  for (; memory.partial[s] <= left; ++s) left -= memory.partial[s];
  for (std::size_t i = s * kSumTokens;; ++i) {
    if (!cut.keeps(row.logits[i], i)) continue;
    const auto weight = static_cast<std::uint64_t>(memory.weights[i]);
    if (weight > left) return i;
    left -= weight;
  }
}

SampleResult sample(const SampleArgs& a, std::int32_t* out) {
  Memory memory(a.tokens);
  for (std::size_t r = 0; r < a.rows; ++r) {
    const Decided found = decide(a, r, memory);
    if (found.bad != BadLogits::none) return {found.bad, r};
    const bool greedy = found.row.scale == 0;
    const std::size_t token =
        greedy ? likeliest(found.row) : draw(found.row, found.cut, memory, philox(a.seed[r], a.step[r], r));
    out[r] = static_cast<std::int32_t>(token);
  }
  return {};
}

SampleResult kept(const SampleArgs& a, bool* out) {
  Memory memory(a.tokens);
  for (std::size_t r = 0; r < a.rows; ++r) {
    const Decided found = decide(a, r, memory);
    if (found.bad != BadLogits::none) return {found.bad, r};
    const bool greedy = found.row.scale == 0;
    const std::size_t token = greedy ? likeliest(found.row) : 0;
    for (std::size_t i = 0; i < a.tokens; ++i)
      out[r * a.tokens + i] = greedy ? i == token : found.cut.keeps(found.row.logits[i], i) && memory.weights[i] > 0;
  }
  return {};
}

void weights_of(const float* logits, std::size_t tokens, double temperature, std::int64_t* out) {
  const Memory memory(tokens);
  const Row row{logits, tokens, look(logits, tokens).highest, scale_of(temperature)};
  weigh<false, false>(row, memory.weights, nullptr, nullptr);
  std::copy(memory.weights, memory.weights + tokens, out);
}

}  // namespace

const SampleKernels sample_tokens{&sample, &kept, &weights_of};

}  // namespace tailrace::kernels::TAILRACE_ISA

#include "cpu/end_target.hpp"
