// network.cuh -- the layers of a network as a kernel is handed them, by value; launch.py of mlp_forward fills them in
#pragma once
#include "weights.cuh"

constexpr int kMostLayers = 16;

struct Network {
  Layer layers[kMostLayers];
  int count, activation, last_activation, second;  // second: bytes from the first to the second array between layers
};
