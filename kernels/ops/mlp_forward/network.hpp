// network.hpp -- the layers of a network, one after the other, and what they are packed into.
//
// What      `Network`: weights that are packed once, with biases, ready for calls; `run_layers` for both, packed or as they lie;
//           `packed_for_call` packs for one call, into memory that the thread keeps.
// Why       Rows go through all layers 64 at a time: what lies between two layers then stays in the second-level cache.
// Threads   A Network is never changed; `run` may be called by any number of threads, each with scratch memory of its own.
// Checked   tests/cpp/kernels/test_mlp.cpp.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <memory>
#include <new>
#include <vector>

#include "cpu/scratch.hpp"
#include "ops/mlp_forward/cpu.hpp"

namespace tailrace::kernels {

struct Layer {
  LayerWeight weight;
  const LayerKernels* kernels;
  const std::byte* packed;  // or null
  const float* bias;  // or null
};

inline constexpr std::size_t kRowsAtOnce = 64;

inline std::size_t whole_line(std::size_t bytes) { return (bytes + 63) / 64 * 64; }

struct BetweenLayers {};  // the tag of the scratch memory

// The activation after all but the last layer. x [rows, in of the first], y [rows, out of the last].
inline void run_layers(const Layer* layers, std::size_t count, const float* x, float* y, std::size_t rows,
                       Activation activation) {
  const std::size_t most = std::min(rows, kRowsAtOnce);
  std::size_t widest = 0, scratch_most = 0;
  for (std::size_t l = 0; l < count; ++l) {
    if (l + 1 < count) widest = std::max(widest, layers[l].weight.out);
    scratch_most = std::max(scratch_most, layers[l].kernels->scratch_bytes(layers[l].weight, most));
  }
  const std::size_t between = whole_line(most * widest * sizeof(float));
  std::byte* memory = scratch<BetweenLayers>(2 * between + scratch_most);
  const std::size_t in = layers[0].weight.in, out = layers[count - 1].weight.out;
  for (std::size_t row = 0; row < rows; row += kRowsAtOnce) {
    const std::size_t now = std::min(kRowsAtOnce, rows - row);
    const float* from = x + row * in;
    for (std::size_t l = 0; l < count; ++l) {
      const bool last = l + 1 == count;
      float* to = last ? y + row * out : reinterpret_cast<float*>(memory + l % 2 * between);
      layers[l].kernels->run({&layers[l].weight, layers[l].packed, layers[l].bias, from, to, now,
                              last ? Activation::none : activation, memory + 2 * between});
      from = to;
    }
  }
}

// What packed weights lie in: zeroed by nobody, aligned for the widest register.
class PackedBytes {
 public:
  explicit PackedBytes(std::size_t bytes)
      : bytes_(static_cast<std::byte*>(::operator new(bytes, std::align_val_t{64}))) {}
  std::byte* get() const { return bytes_.get(); }

 private:
  struct Free {
    void operator()(std::byte* bytes) const { ::operator delete(bytes, std::align_val_t{64}); }
  };
  std::unique_ptr<std::byte, Free> bytes_;
};

// Packs the layers one behind the other into `memory`, or only says how many bytes that takes.
inline std::size_t pack_layers(Layer* layers, std::size_t count, std::byte* memory) {
  std::size_t used = 0;
  for (std::size_t l = 0; l < count; ++l) {
    if (memory != nullptr) {
      layers[l].kernels->pack(layers[l].weight, memory + used);
      layers[l].packed = memory + used;
    }
    used += whole_line(layers[l].kernels->packed_bytes(layers[l].weight));
  }
  return used;
}

struct PackedForCall {};  // the tag of the scratch memory

inline void packed_for_call(Layer* layers, std::size_t count) {
  pack_layers(layers, count, scratch<PackedForCall>(pack_layers(layers, count, nullptr)));
}

class Network {
 public:
  // Copies all it needs of the layers' weights and biases.
  Network(std::vector<Layer> layers, Activation activation)
      : layers_(std::move(layers)),
        activation_(activation),
        packed_(pack_layers(layers_.data(), layers_.size(), nullptr)) {
    pack_layers(layers_.data(), layers_.size(), packed_.get());
    std::size_t biases = 0;
    for (const Layer& layer : layers_) biases += layer.bias != nullptr ? layer.weight.out : 0;
    biases_.reserve(biases);
    for (Layer& layer : layers_) {
      layer.weight.values = layer.weight.scale = nullptr;  // the caller's, not kept
      if (layer.bias == nullptr) continue;
      const float* place = biases_.data() + biases_.size();
      biases_.insert(biases_.end(), layer.bias, layer.bias + layer.weight.out);
      layer.bias = place;
    }
  }

  std::size_t inputs() const { return layers_.front().weight.in; }
  std::size_t outputs() const { return layers_.back().weight.out; }
  const std::vector<Layer>& layers() const { return layers_; }

  void run(const float* x, float* y, std::size_t rows) const {
    run_layers(layers_.data(), layers_.size(), x, y, rows, activation_);
  }

 private:
  std::vector<Layer> layers_;
  Activation activation_;
  PackedBytes packed_;
  std::vector<float> biases_;
};

// A guess of how long the layers take, for the choice whether to let go of the GIL: multiply-adds and bytes of weights.
inline double estimated_ns(const Layer* layers, std::size_t count, std::size_t rows) {
  constexpr double kNsPerMultiply[] = {0.02, 0.02, 0.02, 0.006, 0.03};  // by kind
  double ns = 0;
  for (std::size_t l = 0; l < count; ++l) {
    const LayerWeight& w = layers[l].weight;
    const double weights = static_cast<double>(w.in * w.out);
    ns += weights * (0.02 + static_cast<double>(rows) * kNsPerMultiply[static_cast<int>(w.kind)]);
  }
  return ns;
}

}  // namespace tailrace::kernels
