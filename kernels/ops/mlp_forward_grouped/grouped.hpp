// grouped.hpp -- networks of one shape, each agent with weights of its own: every row through its agent's.
//
// What      `GroupedCall` and `run_grouped`.
// Why       With weights of their own, agents share nothing but the call: what is to be paid is reading each agent's weights
//           once, in the order of memory. So rows are brought together by agent, and go through the layers side by side.
// Threads   Any; writes `y` only.
// Source    The grouped GEMM of mixtures of experts: Gale et al. 2023, "MegaBlocks", section 3.
// Checked   tests/cpp/kernels/test_mlp_grouped.cpp, tests/kernels/test_ops.py.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

#include "cpu/scratch.hpp"
#include "ops/mlp_forward/network.hpp"

namespace tailrace::kernels {

struct GroupedCall {
  std::vector<Layer> layers;  // of agent 0, floats as they lie; the others' follow each
  const float* x;  // [rows, in]
  const std::int32_t* agents;  // [rows], or null: row i is agent i's
  float* y;  // [rows, out]
  std::size_t rows;  // below 2^32
  Activation activation;
  std::size_t count;  // of agents

  std::size_t agent_of(std::size_t row) const {
    return agents == nullptr ? row : static_cast<std::size_t>(agents[row]);
  }
  std::size_t in() const { return layers.front().weight.in; }
  std::size_t out() const { return layers.back().weight.out; }
};

struct BetweenGroups {};  // the tags of the scratch memory
struct RowsTogether {};
struct OrderOfRows {};

// At most kRowsAtOnce rows, sorted by agent, through one layer after the other: a layer's weights of all agents are one array,
// which is so read forward from end to end.
template <class AgentOf>
void run_together(const GroupedCall& call, const float* x, float* y, std::size_t rows, AgentOf agent_of) {
  std::size_t widest = 0;
  for (const Layer& layer : call.layers) widest = std::max(widest, layer.weight.out);
  auto* between = reinterpret_cast<float*>(scratch<BetweenGroups>(2 * rows * widest * sizeof(float)));
  for (std::size_t l = 0; l < call.layers.size(); ++l) {
    const bool last = l + 1 == call.layers.size();
    const Layer& first = call.layers[l];
    LayerWeight weight = first.weight;
    const std::size_t bytes = weight.in * weight.out * (weight.kind == WeightKind::float32 ? 4 : 2);
    float* to = last ? y : between + l % 2 * rows * widest;
    for (std::size_t row = 0; row < rows;) {
      const std::size_t agent = agent_of(row);
      std::size_t end = row + 1;
      while (end < rows && agent_of(end) == agent) ++end;
      weight.values = static_cast<const std::byte*>(first.weight.values) + agent * bytes;
      first.kernels->run({&weight, nullptr, first.bias == nullptr ? nullptr : first.bias + agent * weight.out,
                          x + row * weight.in, to + row * weight.out, end - row,
                          last ? Activation::none : call.activation, nullptr, (call.count - 1 - agent) * bytes});
      row = end;
    }
    x = to;
  }
}

// Rows of one agent lie apart: they are copied together, and what comes out is copied back.
inline void run_scattered(const GroupedCall& call) {
  auto* keys = reinterpret_cast<std::uint64_t*>(scratch<OrderOfRows>(call.rows * sizeof(std::uint64_t)));
  for (std::size_t r = 0; r < call.rows; ++r) keys[r] = static_cast<std::uint64_t>(call.agent_of(r)) << 32 | r;
  std::sort(keys, keys + call.rows);
  const std::size_t in = call.in(), out = call.out();
  for (std::size_t from = 0; from < call.rows; from += kRowsAtOnce) {
    const std::size_t rows = std::min(kRowsAtOnce, call.rows - from);
    const auto row_at = [&](std::size_t i) { return static_cast<std::size_t>(keys[from + i] & 0xFFFFFFFFU); };
    auto* x = reinterpret_cast<float*>(scratch<RowsTogether>(rows * (in + out) * sizeof(float)));
    float* y = x + rows * in;
    for (std::size_t i = 0; i < rows; ++i) std::memcpy(x + i * in, call.x + row_at(i) * in, in * sizeof(float));
    run_together(call, x, y, rows, [&](std::size_t i) { return static_cast<std::size_t>(keys[from + i] >> 32); });
    for (std::size_t i = 0; i < rows; ++i) std::memcpy(call.y + row_at(i) * out, y + i * out, out * sizeof(float));
  }
}

inline void run_grouped(const GroupedCall& call) {
  if (call.agents != nullptr && !std::is_sorted(call.agents, call.agents + call.rows)) return run_scattered(call);
  for (std::size_t from = 0; from < call.rows; from += kRowsAtOnce)
    run_together(call, call.x + from * call.in(), call.y + from * call.out(), std::min(kRowsAtOnce, call.rows - from),
                 [&](std::size_t i) { return call.agent_of(from + i); });
}

}  // namespace tailrace::kernels
