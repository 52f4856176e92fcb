// grouped.hpp -- networks of one shape, each agent with weights of its own: every row through its agent's.
//
// What      `GroupedCall` and `run_grouped`.
// Why       With weights of their own, agents share nothing but the call: what is to be paid is reading each agent's weights
//           once. So rows are brought together by agent, and an agent's rows go through its layers as one small batch.
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

  std::size_t agent_of(std::size_t row) const {
    return agents == nullptr ? row : static_cast<std::size_t>(agents[row]);
  }
  std::size_t in() const { return layers.front().weight.in; }
  std::size_t out() const { return layers.back().weight.out; }
};

// The layers of one agent, for `count` rows that follow each other.
inline void run_agent(const GroupedCall& call, std::vector<Layer>& layers, std::size_t agent, const float* x, float* y,
                      std::size_t count) {
  for (std::size_t l = 0; l < layers.size(); ++l) {
    const Layer& first = call.layers[l];
    const std::size_t element = first.weight.kind == WeightKind::float32 ? 4 : 2;
    const std::size_t skipped = agent * first.weight.in * first.weight.out * element;
    layers[l].weight.values = static_cast<const std::byte*>(first.weight.values) + skipped;
    layers[l].bias = first.bias == nullptr ? nullptr : first.bias + agent * first.weight.out;
  }
  run_layers(layers.data(), layers.size(), x, y, count, call.activation);
}

struct RowsOfAgent {};  // the tags of the scratch memory
struct OrderOfRows {};

// Rows of one agent lie apart: they are copied together, and what comes out is copied back.
inline void run_scattered(const GroupedCall& call, std::vector<Layer>& layers) {
  auto* keys = reinterpret_cast<std::uint64_t*>(scratch<OrderOfRows>(call.rows * sizeof(std::uint64_t)));
  for (std::size_t r = 0; r < call.rows; ++r) keys[r] = static_cast<std::uint64_t>(call.agent_of(r)) << 32 | r;
  std::sort(keys, keys + call.rows);
  const std::size_t in = call.in(), out = call.out();
  const auto row_at = [&](std::size_t i) { return static_cast<std::size_t>(keys[i] & 0xFFFFFFFFU); };
  for (std::size_t from = 0; from < call.rows;) {
    const std::size_t agent = keys[from] >> 32;
    std::size_t to = from;
    while (to < call.rows && keys[to] >> 32 == agent) ++to;
    const std::size_t count = to - from;
    auto* x = reinterpret_cast<float*>(scratch<RowsOfAgent>(count * (in + out) * sizeof(float)));
    float* y = x + count * in;
    for (std::size_t i = 0; i < count; ++i) std::memcpy(x + i * in, call.x + row_at(from + i) * in, in * sizeof(float));
    run_agent(call, layers, agent, x, y, count);
    for (std::size_t i = 0; i < count; ++i)
      std::memcpy(call.y + row_at(from + i) * out, y + i * out, out * sizeof(float));
    from = to;
  }
}

inline void run_grouped(const GroupedCall& call) {
  std::vector<Layer> layers = call.layers;
  if (call.agents != nullptr && !std::is_sorted(call.agents, call.agents + call.rows))
    return run_scattered(call, layers);
  for (std::size_t from = 0; from < call.rows;) {
    const std::size_t agent = call.agent_of(from);
    std::size_t to = from + 1;
    while (call.agents != nullptr && to < call.rows && call.agent_of(to) == agent) ++to;
    run_agent(call, layers, agent, call.x + from * call.in(), call.y + from * call.out(), to - from);
    from = to;
  }
}

}  // namespace tailrace::kernels
